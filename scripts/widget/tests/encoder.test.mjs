// What computes once a graphics card is lost.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bundled } from "./bundled.mjs";

const { LastingBackend } = await bundled("encoder");
const VALUES = new Float32Array(6);

function backend(name, outcomes) {
    const embed = async () => {
        const outcome = outcomes.shift();
        if (outcome instanceof Error) throw outcome;
        return new Float32Array([outcome]);
    };
    return { name, threads: 1, runtime: null, embed };
}

test("a graphics card that is lost is left, and the same shape is embedded without it", async (context) => {
    context.mock.method(console, "warn", () => {});
    let loads = 0;
    const onCpu = async () => (loads++, backend("WebAssembly", [2, 3]));
    const lasting = new LastingBackend(backend("WebGPU", [1, new Error("the device is lost"), 9]), onCpu);
    const found = [];
    for (let i = 0; i < 3; i++) found.push((await lasting.embed(VALUES))[0]);
    assert.deepEqual([found, loads, lasting.used.name], [[1, 2, 3], 1, "WebAssembly"]);
});

test("a graphics card that gives what is no number is left, too", async (context) => {
    context.mock.method(console, "warn", () => {});
    const lasting = new LastingBackend(backend("WebGPU", [1, NaN]), async () => backend("WebAssembly", [2, NaN]));
    const found = [];
    for (let i = 0; i < 3; i++) found.push((await lasting.embed(VALUES))[0]);
    assert.deepEqual([found, lasting.used.name], [[1, 2, NaN], "WebAssembly"]);
});

test("where WebAssembly cannot be loaded, the next shape tries again", async (context) => {
    context.mock.method(console, "warn", () => {});
    const loads = [new Error("no connection"), backend("WebAssembly", [2])];
    const onCpu = async () => {
        const load = loads.shift();
        if (load instanceof Error) throw load;
        return load;
    };
    const lasting = new LastingBackend(backend("WebGPU", [new Error("lost"), new Error("lost")]), onCpu);
    await assert.rejects(lasting.embed(VALUES), /no connection/);
    assert.equal((await lasting.embed(VALUES))[0], 2);
});

test("an error of WebAssembly is the shape's", async () => {
    const lasting = new LastingBackend(backend("WebAssembly", [new Error("out of memory"), 1]), () => assert.fail());
    await assert.rejects(lasting.embed(VALUES), /out of memory/);
    assert.equal((await lasting.embed(VALUES))[0], 1);
});
