// What is sent to be drawn.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bundled } from "./bundled.mjs";

const { shapeView, buffersOf } = await bundled("viewing");

function part(texture, uv = new Float64Array(6)) {
    const triangles = Float64Array.of(0, 0, 0, 1, 0, 0, 0, 1, 0);
    return { triangles, colors: [1, 2, 3], texture, uv, tint: null, wrap: ["repeat", "clamp"], isColored: true };
}

const picture = (value) => ({ width: 1, height: 1, data: new Uint8ClampedArray(4).fill(value) });

test("a texture is sent once, however many parts have it", () => {
    const [first, second] = [picture(7), picture(7)];
    const parts = [part(first), part(null), part(second), part(first), part(first)];
    const points = { xyz: Float64Array.of(0, 0, 0, 1, 1, 0), rgb: null };
    const shape = { kind: "mesh", parts, warnings: [], upAxis: "y" };
    const view = shapeView(shape, points, new Float32Array(12), "y", "y");
    assert.deepEqual(view.parts.map(({ texture }) => texture), [0, null, 1]);
    assert.deepEqual(view.textures.map(({ data }) => [...data]), [[7, 7, 7, 7], [7, 7, 7, 7]]);
    // The points; positions, colours and coordinates by texture, and of one without; two textures.
    assert.equal(buffersOf(view).length, 1 + 2 * 3 + 2 + 2);
    assert.deepEqual(view.parts.map(({ positions, uv }) => [positions.length, uv?.length ?? 0]), [[27, 18], [9, 0], [9, 6]]);
    assert.equal(first.data.length, 4);
});

test("parts without a texture are drawn together, and too many with one not at all", () => {
    const points = { xyz: Float64Array.of(0, 0, 0, 1, 1, 0), rgb: null };
    const shown = (parts) => shapeView({ kind: "mesh", parts, warnings: [], upAxis: "y" }, points, new Float32Array(12), "y", "y");
    const painted = { ...part(null), colors: Uint8Array.of(9, 8, 7, 6, 5, 4, 3, 2, 1) };
    const [only, ...others] = shown([part(null), painted, part(null)]).parts;
    assert.equal(others.length, 0);
    assert.equal(only.positions.length, 27);
    assert.deepEqual([...only.colors], [1, 2, 3, 1, 2, 3, 1, 2, 3, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 2, 3, 1, 2, 3, 1, 2, 3]);
    assert.deepEqual([...only.positions.slice(9, 18)], [...only.positions.slice(0, 9)]);
    assert.equal(shown(Array.from({ length: 50_000 }, () => part(null))).parts.length, 1);
    assert.equal(shown(Array.from({ length: 1001 }, () => part(picture(1)))).parts.length, 0);
    const one = picture(1);
    const mirrored = { ...part(one), wrap: ["mirror", "clamp"] };
    assert.equal(shown([...Array.from({ length: 5000 }, () => part(one)), mirrored]).parts.length, 2);
    assert.equal(shown([part({ width: 2 ** 13, height: 2 ** 13, data: new Uint8Array(4) })]).parts.length, 0);
});
