/**
 * Pictures as their bytes have them: browsers turn a picture as its EXIF data says, and neither glTF nor the Python package
 * does. What `createImageBitmap` is asked for by `imageOrientation` has changed its meaning, so the data is hidden from it.
 */

const EXIF = [0x45, 0x78, 0x69, 0x66];
const SCAN = 0xda;

/** The picture without EXIF data, or itself if it has none. */
export function unturned(data: Uint8Array): Uint8Array {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    if (data.length < 16) return data;
    if (view.getUint16(0) === 0xffd8) return without(data, jpegParts(view));
    if (view.getUint32(0) === 0x89504e47) return without(data, pngParts(view));
    if (text(data, 0) === "RIFF" && text(data, 8) === "WEBP") return renamed(data, webpParts(view));
    return data;
}

/** Where a part begins, and where the next one does. */
type Part = [start: number, end: number];

/** The segments APP1 that begin by "Exif". */
function jpegParts(view: DataView): Part[] {
    const found: Part[] = [];
    let at = 2;
    while (at + 10 <= view.byteLength && view.getUint8(at) === 0xff) {
        const marker = view.getUint8(at + 1);
        // Fill bytes may stand before a marker; after the scan there are no more of these segments.
        if (marker === 0xff) {
            at++;
            continue;
        }
        if (marker === SCAN) break;
        const end = at + 2 + view.getUint16(at + 2);
        if (marker === 0xe1 && EXIF.every((byte, i) => view.getUint8(at + 4 + i) === byte)) found.push([at, end]);
        at = end;
    }
    return found;
}

function pngParts(view: DataView): Part[] {
    const found: Part[] = [];
    let at = 8;
    while (at + 12 <= view.byteLength) {
        const end = at + 12 + view.getUint32(at);
        if (view.getUint32(at + 4) === 0x65584966) found.push([at, end]);
        at = end;
    }
    return found;
}

function webpParts(view: DataView): Part[] {
    const found: Part[] = [];
    let at = 12;
    while (at + 8 <= view.byteLength) {
        const size = view.getUint32(at + 4, true);
        const end = at + 8 + size + (size % 2);
        if (view.getUint32(at) === 0x45584946) found.push([at, end]);
        at = end;
    }
    return found;
}

function without(data: Uint8Array, parts: Part[]): Uint8Array {
    if (!parts.length) return data;
    const kept: Uint8Array[] = [];
    let at = 0;
    for (const [start, end] of parts) {
        kept.push(data.subarray(at, start));
        at = Math.min(end, data.length);
    }
    kept.push(data.subarray(at));
    const found = new Uint8Array(kept.reduce((sum, part) => sum + part.length, 0));
    let place = 0;
    for (const part of kept) {
        found.set(part, place);
        place += part.length;
    }
    return found;
}

/** WebP says its own size, so its parts stay, under a name that decoders pass over. */
function renamed(data: Uint8Array, parts: Part[]): Uint8Array {
    if (!parts.length) return data;
    const found = data.slice();
    for (const [start] of parts) found.fill(0x58, start, start + 4);
    return found;
}

function text(data: Uint8Array, at: number): string {
    return String.fromCharCode(...data.subarray(at, at + 4));
}
