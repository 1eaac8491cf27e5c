/** Pictures decoded by the browser, made smaller as the Python package does. */

import { unturned } from "./orientation";
import { MAX_TEXTURE_SIZE } from "./picture_size";
import type { Texture } from "./shapes";
import { texelsOf } from "./texels";

// What each of four pixels is drawn as to see whether it is read so, and by how much browsers may round it.
const TRIAL = ["#000000", "#ff0000", "#20c060", "#ffffff"];
const TRIAL_BYTES = [0, 0, 0, 255, 255, 0, 0, 255, 32, 192, 96, 255, 255, 255, 255, 255];
const MOST_ROUNDING = 4;
let canRead = false;

export async function decodePicture(data: Uint8Array): Promise<Texture> {
    canRead ||= givesPixels();
    if (!canRead) throw new Error("this browser hides pixels of pictures from pages; allow this page to read its canvas");
    const picture = await createImageBitmap(new Blob([unturned(data) as BlobPart]), {
        premultiplyAlpha: "none",
        colorSpaceConversion: "none",
    });
    const scale = Math.min(1, MAX_TEXTURE_SIZE / Math.max(picture.width, picture.height));
    const [w, h] = [Math.max(Math.round(picture.width * scale), 1), Math.max(Math.round(picture.height * scale), 1)];
    const context = new OffscreenCanvas(w, h).getContext("2d", { willReadFrequently: true })!;
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, w, h);
    const { data: drawn } = context.getImageData(0, 0, w, h);
    // Most pictures are opaque, and then this is exact.
    const texels = isOpaque(drawn) ? drawn : (texelsOf(picture, w, h) ?? drawn);
    picture.close();
    return { width: w, height: h, data: texels };
}

/** Some browsers answer with white or with noise, so that visitors are not known by how they draw. */
function givesPixels(): boolean {
    const context = new OffscreenCanvas(2, 2).getContext("2d", { willReadFrequently: true })!;
    TRIAL.forEach((color, i) => {
        context.fillStyle = color;
        context.fillRect(i % 2, Math.floor(i / 2), 1, 1);
    });
    const { data } = context.getImageData(0, 0, 2, 2);
    return TRIAL_BYTES.every((value, i) => Math.abs(value - data[i]) <= MOST_ROUNDING);
}

function isOpaque(rgba: Uint8ClampedArray): boolean {
    for (let i = 3; i < rgba.length; i += 4) if (rgba[i] < 255) return false;
    return true;
}
