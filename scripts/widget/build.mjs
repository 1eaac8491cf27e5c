// Bundles the page, in a folder that any static server can serve: `node build.mjs OUT`, and for the tests
// `node build.mjs --tool OUT`, a program that does in Node what the page does. The same bytes each time.
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const runtime = join(here, "node_modules/onnxruntime-web/dist");
const isTool = process.argv[2] === "--tool";
const out = process.argv[isTool ? 3 : 2];
if (!out) throw new Error("usage: node build.mjs [--tool] OUT");

// They come with three, without licences of their own.
const DECODER_LICENSES = `Draco, https://github.com/google/draco
Basis Universal, https://github.com/BinomialLLC/basis_universal

Apache License 2.0, whose text stands above
`;

// Decoders that are scripts, and not modules, and what each of them defines.
const SCRIPTS = { draco_wasm_wrapper: "DracoDecoderModule", basis_transcoder: "BASIS" };
const scriptsAsModules = {
    name: "scripts-as-modules",
    setup({ onLoad }) {
        onLoad({ filter: /(draco_wasm_wrapper|basis_transcoder)\.js$/ }, ({ path }) => ({
            contents: `${readFileSync(path, "utf8")}\nexport default ${SCRIPTS[basename(path, ".js")]};\n`,
        }));
    },
};

const common = {
    plugins: [scriptsAsModules],
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
        // Decoders ask for files in Node's older way.
        banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url); const __dirname = ".", __filename = "";' },
    });
} else {
    rmSync(out, { recursive: true, force: true });
    mkdirSync(out, { recursive: true });
    await build({
        ...common,
        entryPoints: Object.fromEntries(["page", "worker", "draco", "meshopt", "basis"].map((name) => [name, `src/${name}.ts`])),
        outdir: out,
        minify: true,
        // Of decoders, where they run in Node.
        external: ["fs", "path"],
    });
    packed("node_modules/three/examples/jsm/libs/draco/draco_decoder.wasm", "draco.wasm.gzip");
    packed("node_modules/three/examples/jsm/libs/basis/basis_transcoder.wasm", "basis.wasm.gzip");
    for (const name of ["index.html", "style.css"]) writeFileSync(join(out, name), readFileSync(join(here, "page", name)));
    // The runtime finds its own threads by its address, so it stays a file of its own.
    const builds = { cpu: ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"] };
    builds.gpu = ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"];
    for (const [name, [script, binary]] of Object.entries(builds)) {
        const text = readFileSync(join(runtime, script), "utf8").replace(/\/\/# sourceMappingURL=.*\s*$/, "");
        // Servers of files know no other ending for scripts: nginx sends .mjs as bytes, which browsers refuse to run.
        writeFileSync(join(out, `runtime-${name}.js`), text);
        packed(join("node_modules/onnxruntime-web/dist", binary), `runtime-${name}.wasm.gzip`);
    }
    const packages = ["three", "onnxruntime-web", "@huggingface/tokenizers", "earcut", "meshoptimizer"];
    writeFileSync(join(out, "LICENSES.txt"), [...packages.map(license), DECODER_LICENSES].join("\n\n"));
}

/** Unpacked by the page: servers of static files do not all compress. */
function packed(file, name) {
    writeFileSync(join(out, name), gzipSync(readFileSync(join(here, file)), { level: 9 }));
}

function license(name) {
    const { version, license } = JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8"));
    let text = "";
    try {
        const file = readdirSync(join(here, "node_modules", name)).find((name) => /^LICEN[CS]E(\.\w+)?$/.test(name));
        text = readFileSync(join(here, "node_modules", name, file), "utf8");
    } catch {
        text = `Licence: ${license}`;
    }
    return `${name} ${version}\n\n${text.trim()}\n`;
}
