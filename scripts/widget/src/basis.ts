/** Basis Universal's transcoder, a file of its own that is fetched once a shape needs it. */

import createTranscoder from "three/examples/jsm/libs/basis/basis_transcoder.js";
import type { Basis } from "./readers/ktx2";

/** @param wasmBinary `basis_transcoder.wasm` beside the imported file. */
export async function createBasis(wasmBinary: ArrayBuffer): Promise<Basis> {
    const basis = await createTranscoder({ wasmBinary });
    basis.initializeBasis();
    return basis;
}
