// Of the files that are dropped with a shape, only those are read that it names.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bundled } from "./bundled.mjs";

const { readShape, shapeAmong } = await bundled("readers/index");

const OBJ = "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl red\nf 1 2 3\n";
const MTL = "newmtl red\nKd 1 0 0\n";

/** Says which of them were read; `sizes` are those that they say, where they are no others. */
function watched(texts, sizes = {}) {
    const read = [];
    const files = {
        names: Object.keys(texts),
        bytes: (name) => sizes[name] ?? texts[name].length,
        read: (name) => {
            read.push(name);
            return new TextEncoder().encode(texts[name]);
        },
    };
    return { files, read };
}

test("a file that no shape names is not read, nor one twice", async () => {
    const { files, read } = watched({ "film.mp4": "", "a.mtl": MTL, "a.obj": OBJ, "b.obj": OBJ }, { "film.mp4": 2 ** 40 });
    const shape = await readShape(shapeAmong(files.names), files, {}, { leave_out: [] });
    assert.deepEqual([read, shape.warnings], [["a.obj", "a.mtl"], []]);
});

test("one that is too large is told by its name, and not read", async () => {
    const shape = watched({ "a.obj": OBJ }, { "a.obj": 2 ** 30 });
    await assert.rejects(readShape("a.obj", shape.files, {}, { leave_out: [] }), /^Error: it has 1024 MiB; at most 512 are read/);
    const library = watched({ "a.obj": OBJ, "a.mtl": MTL }, { "a.mtl": 2 ** 30 });
    await assert.rejects(readShape("a.obj", library.files, {}, { leave_out: [] }), /a\.mtl: it has 1024 MiB; at most 512 are read/);
    assert.deepEqual([shape.read, library.read], [[], ["a.obj"]]);
});

test("what is no shape is told by its ending", () => {
    assert.throws(() => shapeAmong(["a.FBX", "b.fbx"]), /^Error: \.fbx files are not read here; give one of \.glb/);
    assert.throws(() => shapeAmong(["chairs"]), /^Error: folders and files without an ending are not read here/);
});
