/** The files that were dropped with a shape, by their names, and pictures decoded once. */

import type { Texture } from "../shapes";

/** Decodes a picture; a browser does it by itself. */
export type Decode = (data: Uint8Array) => Promise<Texture>;

export class Companions {
    private readonly decoded = new Map<string, Texture | null>();

    constructor(
        private readonly files: Map<string, Uint8Array>,
        readonly decode: Decode,
    ) {}

    /** Content of a file, whatever folder it was in when the shape was written. */
    find(name: string): Uint8Array | null {
        const bare = (path: string) => path.replaceAll("\\", "/").split("/").pop()!.toLowerCase();
        // A number sign may be part of a name, or begin a comment; some names are in quotation marks.
        const plain = name.replace(/\s#.*/, "").trim().replace(/^["']+|["']+$/g, "");
        for (const wanted of [name, plain]) {
            for (const [known, data] of this.files) if (bare(known) === bare(wanted)) return data;
        }
        return null;
    }

    async picture(name: string, warnings: string[]): Promise<Texture | null> {
        if (!this.decoded.has(name)) {
            const data = this.find(name);
            if (!data) warnings.push(`a texture is in ${name}, which was not dropped with it`);
            this.decoded.set(name, data && (await this.tryDecode(data, name, warnings)));
        }
        return this.decoded.get(name)!;
    }

    /** The picture, or null and a warning. */
    async tryDecode(data: Uint8Array, name: string, warnings: string[]): Promise<Texture | null> {
        try {
            return await this.decode(data);
        } catch {
            warnings.push(`a texture cannot be read: ${name}`);
            return null;
        }
    }
}
