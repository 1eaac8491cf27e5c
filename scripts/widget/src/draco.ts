/** Draco's decoder, a file of its own that is fetched once a shape needs it. */

import createDecoder from "three/examples/jsm/libs/draco/draco_wasm_wrapper.js";
import type { Draco } from "./readers/gltf_compression";

/** @param wasmBinary `draco_decoder.wasm` beside the imported file. */
export async function createDraco(wasmBinary: ArrayBuffer): Promise<Draco> {
    // What it makes is no promise, but has `then`: waiting for it would never end.
    return new Promise((resolve, reject) => {
        createDecoder({ wasmBinary, onModuleLoaded: (draco) => resolve(withoutThen(draco)), onAbort: reject });
    });
}

function withoutThen(draco: Draco & { then?: unknown }): Draco {
    delete draco.then;
    return draco;
}
