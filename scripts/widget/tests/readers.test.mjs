// Files of many parts, and of more than a browser has memory for.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bundled } from "./bundled.mjs";
import { dropped } from "./dropped.mjs";

const { readShape } = await bundled("readers/index");
const TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n";
const bytes = (text) => new TextEncoder().encode(text);

test("what the browser has no memory for is no damage", async () => {
    const reading = (fail) => {
        const files = dropped([["a.obj", bytes(`mtllib a.mtl\n${TRIANGLE}f 1 2 3\n`)], ["a.mtl", bytes("")]]);
        const { read } = files;
        return readShape("a.obj", { ...files, read: (name) => (name === "a.mtl" ? fail() : read(name)) }, {}, {});
    };
    const large = [() => new ArrayBuffer(2 ** 50), () => "a".repeat(2 ** 30), () => ([].length = 2 ** 32)];
    for (const fail of large) {
        await assert.rejects(reading(fail), { message: "it is too large for the memory of this browser; simplify it" });
    }
    const damaged = [() => new Float32Array(-1), () => new DataView(new ArrayBuffer(2)).getFloat64(0)];
    for (const fail of damaged) await assert.rejects(reading(fail), /^Error: it is damaged \(/);
});

const [MANY, TRIANGLES] = [20_000, 40_000];
/** Of each triangle. */
const material = (i) => (i * 7919) % MANY;

test("of many materials each takes the triangles that are its own", async () => {
    const lines = Array.from({ length: TRIANGLES }, (_, i) => `v ${i} 0 0\nv ${i} 1 0\nv ${i} 0 1\nusemtl m${material(i)}\nf -1 -2 -3`);
    const start = performance.now();
    const { parts } = await readShape("a.obj", dropped([["a.obj", bytes(lines.join("\n"))]]), {}, {});
    assert.ok(performance.now() - start < 5_000);
    assert.equal(parts.length, MANY);
    const firsts = parts.map(({ triangles }) => triangles[0]);
    assert.deepEqual(firsts, Array.from({ length: MANY }, (_, i) => i));
    for (const { triangles } of parts) {
        const own = Array.from({ length: triangles.length / 9 }, (_, i) => triangles[9 * i]);
        assert.deepEqual(own, [...own].sort((a, b) => a - b));
        assert.equal(new Set(own.map(material)).size, 1);
    }
});

test("of many textures each takes the faces that are its own", async () => {
    const comments = Array.from({ length: MANY }, (_, i) => `comment TextureFile ${i}.png\n`).join("");
    const faces = Array.from({ length: TRIANGLES }, (_, i) => `3 0 1 2 6 0 0 1 0 0 ${i % 10} ${material(i)}\n`).join("");
    const text =
        `ply\nformat ascii 1.0\n${comments}element vertex 3\nproperty float x\nproperty float y\nproperty float z\n` +
        `element face ${TRIANGLES}\nproperty list uchar int vertex_indices\nproperty list uchar float texcoord\n` +
        `property int texnumber\nend_header\n0 0 0\n1 0 0\n0 1 0\n${faces}`;
    const picture = async (data) => ({ width: 1, height: 1, data: new Uint8Array([data[0], data[1], data[2], 255]) });
    const pictures = Array.from({ length: 3 }, (_, i) => [`${i}.png`, new Uint8Array([i, 0, 0])]);
    const start = performance.now();
    const { parts } = await readShape("a.ply", dropped([["a.ply", bytes(text)], ...pictures]), { picture }, {});
    assert.ok(performance.now() - start < 5_000);
    assert.deepEqual([parts.length, parts[2].texture.data[0], parts[3].texture], [MANY, 2, null]);
    for (const place of [0, 1, 2]) {
        const own = Array.from({ length: TRIANGLES }, (_, i) => i).filter((i) => material(i) === place);
        assert.deepEqual(Array.from({ length: own.length }, (_, i) => parts[place].uv[6 * i + 5]), own.map((i) => i % 10));
    }
});
