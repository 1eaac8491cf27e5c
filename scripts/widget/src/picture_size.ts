/** How large a picture says that it is, before it is decoded. */

import { ShapeError } from "./shapes";

/** The longer side of a picture once it is a texture. */
export const MAX_TEXTURE_SIZE = 1024;
const MAX_PIXELS = 2 ** 26;
// A picture of one colour has 300 pixels a byte and more; one of many pixels that shows something has fewer.
const [MAX_PIXELS_A_BYTE, HARMLESS_PIXELS] = [128, 2 ** 25];

/** Refuses a picture of too many pixels. Of kinds that are not known here the browser's own decoder limits it. */
export function checkPixels(data: Uint8Array): void {
    const [width, height] = pictureSize(data) ?? [1, 1];
    const most = Math.min(MAX_PIXELS, Math.max(HARMLESS_PIXELS, MAX_PIXELS_A_BYTE * data.length));
    if (width * height > most) throw new ShapeError(`${width} x ${height} pixels, too many; reduce it`);
}

/** Width and height of a PNG, JPEG, WebP, GIF, BMP or KTX2; null of others, and of what is cut off before it says so. */
export function pictureSize(data: Uint8Array): [number, number] | null {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    if (data.length < 30) return null;
    if (view.getUint32(0) === 0x89504e47) return [view.getUint32(16), view.getUint32(20)];
    if (view.getUint16(0) === 0xffd8) return jpegSize(view);
    if (letters(data, 0, 4) === "RIFF" && letters(data, 8, 12) === "WEBP") return webpSize(view, letters(data, 12, 16));
    if (letters(data, 0, 4) === "GIF8") return [view.getUint16(6, true), view.getUint16(8, true)];
    if (letters(data, 0, 2) === "BM") return bmpSize(view);
    if (letters(data, 1, 7) === "KTX 20") return [view.getUint32(20, true), view.getUint32(24, true)];
    return null;
}

function jpegSize(view: DataView): [number, number] | null {
    for (let at = 2; at + 9 <= view.byteLength && view.getUint8(at) === 0xff; ) {
        const marker = view.getUint8(at + 1);
        // Fill bytes may stand before a marker.
        if (marker === 0xff) {
            at++;
            continue;
        }
        // A frame's start; three of this range are tables.
        const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
        if (isFrame) return [view.getUint16(at + 7), view.getUint16(at + 5)];
        at += 2 + view.getUint16(at + 2);
    }
    return null;
}

function webpSize(view: DataView, kind: string): [number, number] | null {
    const low = (at: number) => view.getUint32(at, true);
    if (kind === "VP8X") return [1 + (low(24) & 0xffffff), 1 + (low(26) >>> 8)];
    if (kind === "VP8L") return [1 + (low(21) & 0x3fff), 1 + ((low(21) >>> 14) & 0x3fff)];
    if (kind === "VP8 ") return [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff];
    return null;
}

/** Of a height below 0 the first row is the upper one. */
function bmpSize(view: DataView): [number, number] {
    const isOld = view.getUint32(14, true) === 12;
    if (isOld) return [view.getUint16(18, true), view.getUint16(20, true)];
    return [Math.abs(view.getInt32(18, true)), Math.abs(view.getInt32(22, true))];
}

function letters(data: Uint8Array, start: number, end: number): string {
    return String.fromCharCode(...data.subarray(start, end));
}
