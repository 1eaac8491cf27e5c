/** Pictures decoded by the browser, made smaller as the Python package does. */

import { unturned } from "./orientation";
import { MAX_TEXTURE_SIZE } from "./picture_size";
import type { Texture } from "./shapes";
import { texelsOf } from "./texels";

export async function decodePicture(data: Uint8Array): Promise<Texture> {
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

function isOpaque(rgba: Uint8ClampedArray): boolean {
    for (let i = 3; i < rgba.length; i += 4) if (rgba[i] < 255) return false;
    return true;
}
