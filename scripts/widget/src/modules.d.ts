declare module "three/examples/jsm/libs/draco/draco_wasm_wrapper.js" {
    type Draco = import("./readers/gltf_compression").Draco;
    /** Emscripten's: a module, from options. */
    export default function createDecoder(options: {
        wasmBinary: ArrayBuffer;
        onModuleLoaded(draco: Draco): void;
        onAbort(reason: unknown): void;
    }): unknown;
}

declare module "three/examples/jsm/libs/basis/basis_transcoder.js" {
    /** Emscripten's: a module, from options. */
    export default function createTranscoder(options: { wasmBinary: ArrayBuffer }): Promise<import("./readers/ktx2").Basis>;
}
