/** STL into triangles: ASCII or binary, with the colours of Materialise Magics and of VisCAM. */

import { round } from "../colors";
import { checkCount, DEFAULT_COLOR, ShapeError, type Mesh } from "../shapes";

const HEADER = 84;
const FACET = 50;

export function readStl(data: Uint8Array): Mesh {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const count = data.length >= HEADER ? view.getUint32(80, true) : 0;
    const fitting = Math.floor((data.length - HEADER) / FACET);
    // Many binary files begin with "solid" too, so the facets decide.
    if (count > 0 && count <= fitting) return readBinary(view, count);
    const start = new TextDecoder("latin1").decode(data.subarray(0, 1000)).trimStart().toLowerCase();
    if (start.startsWith("solid") || start.startsWith("facet")) return readText(new TextDecoder("latin1").decode(data));
    throw new ShapeError(`it has ${data.length} bytes, too few for the ${count.toLocaleString("en")} facets it announces`);
}

function mesh(triangles: Float64Array, colors: Uint8Array | null): Mesh {
    const part = {
        triangles,
        colors: colors ?? DEFAULT_COLOR,
        texture: null,
        uv: null,
        tint: null,
        wrap: ["repeat", "repeat"] as ["repeat", "repeat"],
        isColored: colors !== null,
    };
    return { kind: "mesh", parts: [part], warnings: [], upAxis: null };
}

function readBinary(view: DataView, count: number): Mesh {
    checkCount(count, "triangles");
    const triangles = new Float64Array(9 * count);
    const spare = new Uint16Array(count);
    for (let facet = 0; facet < count; facet++) {
        const at = HEADER + FACET * facet;
        for (let i = 0; i < 9; i++) triangles[9 * facet + i] = view.getFloat32(at + 12 + 4 * i, true);
        spare[facet] = view.getUint16(at + 48, true);
    }
    return mesh(triangles, facetColors(view, spare));
}

function facetColors(view: DataView, spare: Uint16Array): Uint8Array | null {
    const header = new TextDecoder("latin1").decode(new Uint8Array(view.buffer, view.byteOffset, 80));
    const place = header.indexOf("COLOR=");
    const isMagics = place >= 0 && place + 10 <= 80;
    const anything = spare.some((value) => value !== 0);
    const flagged = spare.some((value) => value >> 15 === 1);
    // Where others are not zero, the bytes hold something else.
    if (!isMagics && (!flagged || spare.some((value) => value !== 0 && value >> 15 === 0))) return null;
    const colors = new Uint8Array(9 * spare.length);
    spare.forEach((value, facet) => {
        const fields = [value & 31, (value >> 5) & 31, (value >> 10) & 31].map((part) => round(part * (255 / 31)));
        const hasBit = value >> 15 === 1;
        let color = isMagics ? fields : fields.reverse();
        if (isMagics && (hasBit || !anything)) color = [6, 7, 8].map((i) => view.getUint8(place + i));
        if (!isMagics && !hasBit) color = DEFAULT_COLOR;
        for (let corner = 0; corner < 3; corner++) colors.set(color, 9 * facet + 3 * corner);
    });
    return colors;
}

function readText(text: string): Mesh {
    const corners: number[] = [];
    for (const match of text.matchAll(/\bvertex\s+(\S+)\s+(\S+)\s+(\S+)/gi)) {
        corners.push(Number(match[1]), Number(match[2]), Number(match[3]));
    }
    if (corners.length % 9) throw new ShapeError(`it has ${corners.length / 3} vertices; expected three a facet`);
    checkCount(corners.length / 9, "triangles");
    return mesh(Float64Array.from(corners), null);
}
