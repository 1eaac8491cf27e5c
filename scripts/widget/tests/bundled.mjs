// A module of the page, for tests: bundled in memory, since Node reads no TypeScript.
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL("..", import.meta.url));

/** What a file of `src` exports. */
export async function bundled(name) {
    const { outputFiles } = await build({
        absWorkingDir: here,
        entryPoints: [`src/${name}.ts`],
        bundle: true,
        format: "esm",
        target: "es2022",
        write: false,
    });
    return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`);
}
