/** Meshopt's decoder, a file of its own that is fetched once a shape needs it. */

import { MeshoptDecoder as decoder } from "meshoptimizer/decoder";
import type { MeshoptDecoder } from "./readers/gltf_compression";

export async function createMeshopt(): Promise<MeshoptDecoder> {
    await decoder.ready;
    return decoder;
}
