/** Pictures decoded by the browser, made smaller as the Python package does. */

import { ShapeError, type Texture } from "./shapes";

const MAX_SIZE = 1024;
const MAX_PIXELS = 2 ** 26;

export async function decodePicture(data: Uint8Array): Promise<Texture> {
    const [width, height] = sizeOf(data);
    if (width * height > MAX_PIXELS) throw new ShapeError("too many pixels");
    const picture = await createImageBitmap(new Blob([data as BlobPart]), {
        premultiplyAlpha: "none",
        colorSpaceConversion: "none",
    });
    const scale = Math.min(1, MAX_SIZE / Math.max(picture.width, picture.height));
    const [w, h] = [Math.max(Math.round(picture.width * scale), 1), Math.max(Math.round(picture.height * scale), 1)];
    const context = new OffscreenCanvas(w, h).getContext("2d", { willReadFrequently: true })!;
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, w, h);
    picture.close();
    return { width: w, height: h, data: context.getImageData(0, 0, w, h).data };
}

/** Of a PNG, which says it at its start; others are limited by the browser's own decoder. */
function sizeOf(data: Uint8Array): [number, number] {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const isPng = data.length > 24 && view.getUint32(0) === 0x89504e47;
    return isPng ? [view.getUint32(16), view.getUint32(20)] : [1, 1];
}
