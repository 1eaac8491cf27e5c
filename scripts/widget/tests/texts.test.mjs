// Which text model may embed what a visitor types.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bundled } from "./bundled.mjs";

const { textModels } = await bundled("texts");

test("the encoder says whose texts it knows", () => {
    assert.deepEqual(textModels({ teacher_id: "openai/b", text_tower_id: null }), ["openai/b", "Xenova/b"]);
    assert.deepEqual(textModels({ teacher_id: "a/b", text_tower_id: "google/d" }), ["google/d", "Xenova/d"]);
    assert.deepEqual(textModels({ teacher_id: "laion/b" }), ["laion/b", "Xenova/b"]);
});

test("a model of anybody's is not exchanged for one that shares its name", () => {
    assert.deepEqual(textModels({ teacher_id: "me/clip-vit-base-patch32" }), ["me/clip-vit-base-patch32"]);
    assert.deepEqual(textModels({ teacher_id: "openai/b", text_tower_id: "me/b" }), ["me/b"]);
});

test("texts of no repository on the Hub cannot be embedded here", () => {
    assert.deepEqual(textModels({ teacher_id: "a/b", text_tower_id: "package:texts/model" }), []);
    assert.deepEqual(textModels({ teacher_id: null }), []);
    assert.deepEqual(textModels({}), []);
    assert.deepEqual(textModels({ teacher_id: "https://example.org/a/b" }), []);
});
