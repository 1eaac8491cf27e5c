// Pictures by way of a canvas, whose pixels some browsers hide; on stand-ins of what browsers have.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bundled } from "./bundled.mjs";

const { decodePicture } = await bundled("pictures");
// What a browser makes of a canvas's bytes.
let shown = (values) => values;

class StubCanvas {
    constructor(width, height) {
        [this.width, this.pixels] = [width, new Uint8ClampedArray(4 * width * height)];
    }
    getContext() {
        return this;
    }
    fillRect(x, y) {
        const color = [1, 3, 5].map((at) => parseInt(this.fillStyle.slice(at, at + 2), 16));
        this.pixels.set([...color, 255], 4 * (y * this.width + x));
    }
    drawImage({ pixels }) {
        this.pixels.set(pixels);
    }
    getImageData() {
        return { data: shown(this.pixels) };
    }
}

globalThis.OffscreenCanvas = StubCanvas;
globalThis.createImageBitmap = async () => ({ width: 1, height: 1, pixels: [9, 8, 7, 255], close() {} });

test("pixels that the browser hides are no picture, and one that it rounds is", async () => {
    let noise = 1;
    const answers = [
        (values) => values.map(() => 255),
        (values) => values.map(() => (noise = (noise * 75) % 65537)),
        (values) => values.map((_, i) => (i % 4 === 3 ? 255 : 0)),
    ];
    for (const answer of answers) {
        shown = answer;
        await assert.rejects(decodePicture(new Uint8Array(8)), /hides pixels of pictures/);
    }
    shown = (values) => values.map((value, i) => (i % 4 === 3 ? value : value ^ 1));
    assert.deepEqual([...(await decodePicture(new Uint8Array(8))).data], [8, 9, 6, 255]);
    // Allowed since then.
    shown = (values) => values;
    assert.deepEqual([...(await decodePicture(new Uint8Array(8))).data], [9, 8, 7, 255]);
});
