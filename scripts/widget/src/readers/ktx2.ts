/** Pictures of KTX2 files that Basis Universal has compressed, by its own program. */

import { MAX_TEXTURE_SIZE } from "../picture_size";
import type { Texture } from "../shapes";

interface Ktx2File {
    isValid(): boolean;
    getWidth(): number;
    getHeight(): number;
    getLevels(): number;
    startTranscoding(): boolean;
    getImageLevelInfo(level: number, layer: number, face: number): { origWidth: number; origHeight: number; width: number; height: number };
    getImageTranscodedSizeInBytes(level: number, layer: number, face: number, format: number): number;
    transcodeImage(
        to: Uint8Array, level: number, layer: number, face: number, format: number,
        alpha: number, firstChannel: number, secondChannel: number,
    ): boolean;
    close(): void;
    delete(): void;
}
/** Basis Universal's own program, as far as it is used here. */
export interface Basis {
    initializeBasis(): void;
    KTX2File: new (data: Uint8Array) => Ktx2File;
}

const MARK = [0xab, 0x4b, 0x54, 0x58, 0x20, 0x32, 0x30, 0xbb];
// The program's number for four bytes a pixel.
const RGBA32 = 13;

export function isKtx2(data: Uint8Array): boolean {
    return MARK.every((byte, i) => data[i] === byte);
}

/** The picture, in a size that is large enough. */
export function decodeKtx2(basis: Basis, data: Uint8Array): Texture {
    const file = new basis.KTX2File(data);
    try {
        if (!file.isValid() || !file.getLevels()) throw new Error("it is damaged, or not of Basis Universal");
        if (!file.startTranscoding()) throw new Error("it cannot be decoded");
        let level = file.getLevels() - 1;
        const size = () => file.getImageLevelInfo(level, 0, 0);
        while (level > 0 && Math.max(size().origWidth, size().origHeight) < MAX_TEXTURE_SIZE) level--;
        const { origWidth: width, origHeight: height } = size();
        const texels = new Uint8Array(file.getImageTranscodedSizeInBytes(level, 0, 0, RGBA32));
        if (!file.transcodeImage(texels, level, 0, 0, RGBA32, 0, -1, -1)) throw new Error("it cannot be decoded");
        if (texels.length !== 4 * width * height) throw new Error("it is of another kind");
        return reduced({ width, height, data: texels });
    } finally {
        file.close();
        file.delete();
    }
}

/** Of squares of texels their means, where it is larger than textures are kept. */
function reduced(texture: Texture): Texture {
    const factor = Math.ceil(Math.max(texture.width, texture.height) / MAX_TEXTURE_SIZE);
    if (factor === 1) return texture;
    const [width, height] = [Math.ceil(texture.width / factor), Math.ceil(texture.height / factor)];
    const sums = new Float64Array(4 * width * height);
    const counts = new Uint32Array(width * height);
    for (let row = 0, from = 0; row < texture.height; row++) {
        for (let column = 0; column < texture.width; column++, from += 4) {
            const at = Math.floor(row / factor) * width + Math.floor(column / factor);
            counts[at]++;
            for (let channel = 0; channel < 4; channel++) sums[4 * at + channel] += texture.data[from + channel];
        }
    }
    return { width, height, data: Uint8Array.from(sums, (sum, i) => Math.round(sum / counts[i >> 2])) };
}
