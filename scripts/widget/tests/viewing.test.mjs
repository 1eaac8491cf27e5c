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
    assert.deepEqual(view.parts.map(({ texture }) => texture), [0, null, 1, 0, 0]);
    assert.deepEqual(view.textures.map(({ data }) => [...data]), [[7, 7, 7, 7], [7, 7, 7, 7]]);
    // The points; positions, colours and coordinates of four parts, and of one without a texture; two textures.
    assert.equal(buffersOf(view).length, 1 + 4 * 3 + 2 + 2);
    assert.equal(first.data.length, 4);
});
