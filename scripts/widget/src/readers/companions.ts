/** The files that were dropped with a shape, by their names, and pictures decoded once. */

import { checkPixels } from "../picture_size";
import { checkFileSize, ShapeError, type Texture } from "../shapes";
import { readable, spellings } from "./encodings";
import type { Draco, MeshoptDecoder } from "./gltf_compression";
import { decodeKtx2, isKtx2, type Basis } from "./ktx2";

// Of four bytes each.
const MAX_TEXELS = 2 ** 27;

/** What decodes parts of a shape; each program is asked for when a shape has such a part. */
export interface Decoders {
    /** A browser does it by itself. */
    picture(data: Uint8Array): Promise<Texture>;
    /** With a memory of its own. */
    draco(): Promise<Draco>;
    meshopt(): Promise<MeshoptDecoder>;
    basis(): Promise<Basis>;
}

/** The files that were dropped together, of which only those are read that a shape names. */
export interface DroppedFiles {
    names: string[];
    bytes(name: string): number;
    /** All of it, at once: readers do not wait. */
    read(name: string): Uint8Array;
}

export class Companions {
    private readonly read = new Map<string, Uint8Array>();
    private readonly decoded = new Map<string, Texture | null>();
    private basis: Basis | null = null;
    private texels = 0;

    constructor(
        private readonly files: DroppedFiles,
        readonly decoders: Decoders,
    ) {}

    /** Counts texels that are about to be kept. */
    takeTexels(count: number): void {
        if (this.texels + count > MAX_TEXELS) throw new ShapeError("its textures are too many or too large; reduce them");
        this.texels += count;
    }

    /** Content of a file, whatever folder it was in when the shape was written, in small letters or not, in any encoding. */
    find(name: string): Uint8Array | null {
        for (const spelling of spellings(name)) {
            const found = this.named(spelling);
            if (found) return found;
        }
        return null;
    }

    private named(name: string): Uint8Array | null {
        // An accent may be a character of its own.
        const bare = (path: string) => path.replaceAll("\\", "/").split("/").pop()!.normalize("NFC");
        // A number sign may be part of a name, or begin a comment; some names are in quotation marks.
        const plain = name.replace(/\s#.*/, "").trim().replace(/^["']+|["']+$/g, "");
        for (const wanted of [bare(name), bare(plain)]) {
            const alike = this.files.names.filter((other) => bare(other).toLowerCase() === wanted.toLowerCase());
            const found = alike.find((other) => bare(other) === wanted) ?? (alike.length === 1 ? alike[0] : undefined);
            if (found !== undefined) return this.content(found);
        }
        return null;
    }

    private content(name: string): Uint8Array {
        if (!this.read.has(name)) {
            checkFileSize(this.files.bytes(name), `${name}: `);
            this.read.set(name, this.files.read(name));
        }
        return this.read.get(name)!;
    }

    async picture(name: string, warnings: string[]): Promise<Texture | null> {
        if (!this.decoded.has(name)) {
            const data = this.find(name);
            if (!data) warnings.push(`a texture is in ${readable(name)}, which was not dropped with it`);
            this.decoded.set(name, data && (await this.tryDecode(data, readable(name), warnings)));
        }
        return this.decoded.get(name)!;
    }

    private async decodeKtx2(data: Uint8Array): Promise<Texture> {
        this.basis ??= await this.decoders.basis();
        return decodeKtx2(this.basis, data);
    }

    /** The picture, or null and a warning. */
    async tryDecode(data: Uint8Array, name: string, warnings: string[]): Promise<Texture | null> {
        try {
            checkPixels(data);
            const found = isKtx2(data) ? await this.decodeKtx2(data) : await this.decoders.picture(data);
            this.takeTexels(found.width * found.height);
            return found;
        } catch (error) {
            warnings.push(`a texture cannot be read: ${name} (${error instanceof Error ? error.message : String(error)})`);
            return null;
        }
    }
}
