// Which texel a place in a texture is.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bundled } from "./bundled.mjs";

const { texelAt } = await bundled("colors");
const column = (u, width) => texelAt(u, 0, width, 1, ["repeat", "repeat"]) / 4;

test("a place within the texture is itself, to the last bit", () => {
    for (let width = 1; width <= 300; width++) {
        for (let i = 0; i < width; i++) {
            const u = i / width;
            // Of a computation without any remainder; the product may be below the whole number.
            assert.equal(column(u, width), Math.floor(u * width), `${i} of ${width}`);
        }
    }
});

test("places beside the texture are those of its repetitions", () => {
    for (const u of [-0.25, -1.25, 0.75, 7.75]) assert.equal(column(u, 8), 6);
    // As numpy, where the remainder is rounded to a whole one.
    assert.equal(column(-0.1, 10), 9);
});
