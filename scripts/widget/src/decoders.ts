/** What decodes parts of a shape: the browser's own decoder of pictures, and programs that are fetched once they are needed. */

import { download, unpacked } from "./downloads";
import { decodePicture } from "./pictures";
import type { Decoders } from "./readers/companions";

/** @param base Of the page. */
export function browserDecoders(base: string): Decoders {
    const at = (name: string) => new URL(name, base).href;
    const program = <Module>(name: string) =>
        once(async () => {
            const module = (await import(at(`${name}.js`))) as Module;
            const binary = (await unpacked(await download(at(`${name}.wasm.gzip`)))).buffer as ArrayBuffer;
            return { module, binary };
        });
    const draco = program<typeof import("./draco")>("draco");
    const basis = program<typeof import("./basis")>("basis");
    return {
        picture: decodePicture,
        draco: async () => {
            const { module, binary } = await draco();
            return module.createDraco(binary);
        },
        basis: async () => {
            const { module, binary } = await basis();
            return module.createBasis(binary);
        },
        meshopt: async () => ((await import(at("meshopt.js"))) as typeof import("./meshopt")).createMeshopt(),
    };
}

/** Kept once it succeeds. */
function once<Value>(make: () => Promise<Value>): () => Promise<Value> {
    let kept: Value | undefined;
    return async () => (kept ??= await make());
}
