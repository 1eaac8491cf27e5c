// Bundles the page, in a folder that any static server can serve: `node build.mjs OUT`, and for the tests
// `node build.mjs --tool OUT`, a program that does in Node what the page does. The same bytes each time.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const runtime = join(here, "node_modules/onnxruntime-web/dist");
const isTool = process.argv[2] === "--tool";
const out = process.argv[isTool ? 3 : 2];
if (!out) throw new Error("usage: node build.mjs [--tool] OUT");

const common = {
    absWorkingDir: here,
    bundle: true,
    format: "esm",
    target: "es2022",
    legalComments: "none",
    logLevel: "warning",
};

if (isTool) {
    await build({
        ...common,
        entryPoints: ["tests/tool.ts"],
        outfile: out,
        platform: "node",
        external: ["onnxruntime-web"],
    });
} else {
    rmSync(out, { recursive: true, force: true });
    mkdirSync(out, { recursive: true });
    await build({
        ...common,
        entryPoints: { page: "src/page.ts", worker: "src/worker.ts" },
        outdir: out,
        minify: true,
    });
    for (const name of ["index.html", "style.css"]) writeFileSync(join(out, name), readFileSync(join(here, "page", name)));
    // The runtime finds its own threads by its address, so it stays a file of its own.
    const builds = { cpu: ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"] };
    builds.gpu = ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"];
    for (const [name, [script, binary]] of Object.entries(builds)) {
        const text = readFileSync(join(runtime, script), "utf8").replace(/\/\/# sourceMappingURL=.*\s*$/, "");
        writeFileSync(join(out, `runtime-${name}.mjs`), text);
        // Unpacked by the page: servers of static files do not all compress.
        writeFileSync(join(out, `runtime-${name}.wasm.gzip`), gzipSync(readFileSync(join(runtime, binary)), { level: 9 }));
    }
    const packages = ["three", "onnxruntime-web", "@huggingface/tokenizers", "earcut"];
    writeFileSync(join(out, "LICENSES.txt"), packages.map(license).join("\n\n"));
}

function license(name) {
    const { version, license } = JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8"));
    let text = "";
    try {
        text = readFileSync(join(here, "node_modules", name, "LICENSE"), "utf8");
    } catch {
        text = `Licence: ${license}`;
    }
    return `${name} ${version}\n\n${text.trim()}\n`;
}
