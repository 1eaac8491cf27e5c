/** STL into triangles: ASCII or binary, with the colours of Materialise Magics and of VisCAM. */

import { round } from "../colors";
import { checkCount, DEFAULT_COLOR, ShapeError, type Mesh } from "../shapes";
import { decodedText } from "./encodings";
import { parseNumber, withPlainNan } from "./number_text";
import { triangulate } from "./polygons";

const HEADER = 84;
const FACET = 50;

// What writers leave in place of a count that they do not know yet.
const UNKNOWN_COUNTS = [0, 2 ** 32 - 1];
const NAME = /solid\b[^\n]*?(?=facet[ \t]*normal|\n|$)/g;
const CORNER_OR_LOOP = /\b(?:outer\s*loop\b|vertex\s+(\S+)\s+(\S+)\s+(\S+))/g;

export function readStl(data: Uint8Array): Mesh {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const count = data.length >= HEADER ? view.getUint32(80, true) : 0;
    const fitting = Math.floor((data.length - HEADER) / FACET);
    // Many binary files begin with "solid" too, so the facets decide.
    if (count > 0 && count <= fitting) return readBinary(view, count, []);
    const isUtf16 = (data[0] === 0xff && data[1] === 0xfe) || (data[0] === 0xfe && data[1] === 0xff);
    const text = (isUtf16 ? decodedText(data) : new TextDecoder("latin1").decode(data)).toLowerCase();
    const start = text.slice(0, 1000).replace(/^\u00ef\u00bb\u00bf/, "").trimStart();
    const isText = start.startsWith("solid") || start.startsWith("facet");
    if (isText && (text.includes("vertex") || !UNKNOWN_COUNTS.includes(count))) return readText(text);
    if (UNKNOWN_COUNTS.includes(count) && fitting > 0 && (data.length - HEADER) % FACET === 0) {
        const warning = `the header announces ${count.toLocaleString("en")} facets; the file's ${fitting.toLocaleString("en")} are read`;
        return readBinary(view, fitting, [warning]);
    }
    if (isText) return readText(text);
    throw new ShapeError(`it has ${data.length} bytes, too few for the ${count.toLocaleString("en")} facets it announces`);
}

function mesh(triangles: Float64Array, colors: Uint8Array | null, warnings: string[]): Mesh {
    const part = {
        triangles,
        colors: colors ?? DEFAULT_COLOR,
        texture: null,
        uv: null,
        tint: null,
        wrap: ["repeat", "repeat"] as ["repeat", "repeat"],
        isColored: colors !== null,
    };
    return { kind: "mesh", parts: [part], warnings, upAxis: null };
}

function readBinary(view: DataView, count: number, warnings: string[]): Mesh {
    checkCount(count, "triangles");
    const triangles = new Float64Array(9 * count);
    const spare = new Uint16Array(count);
    for (let facet = 0; facet < count; facet++) {
        const at = HEADER + FACET * facet;
        for (let i = 0; i < 9; i++) triangles[9 * facet + i] = view.getFloat32(at + 12 + 4 * i, true);
        spare[facet] = view.getUint16(at + 48, true);
    }
    return mesh(triangles, facetColors(view, spare), warnings);
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

/** Of a text in small letters; facets may have any number of corners, and other lines between. */
function readText(text: string): Mesh {
    const corners: number[] = [];
    const loops: number[] = [];
    for (const match of withPlainNan(text.replace(/\r/g, "\n").replace(NAME, "")).matchAll(CORNER_OR_LOOP)) {
        if (match[1] === undefined) loops.push(corners.length / 3);
        else for (let i = 1; i < 4; i++) corners.push(parseNumber(match[i], "a vertex"));
    }
    const count = corners.length / 3;
    const ends = [...loops.slice(1), count];
    const sizes =
        loops.length && loops[0] === 0 ? ends.map((end, i) => end - loops[i]) : Array.from({ length: Math.ceil(count / 3) }, () => 3);
    if (sizes.reduce((sum, size) => sum + size, 0) !== count || sizes.some((size) => size < 3)) {
        throw new ShapeError(`it has ${count} vertices; expected three a facet`);
    }
    const positions = Float64Array.from(corners);
    const found = triangulate(positions, Uint32Array.from({ length: count }, (_, i) => i), sizes).corners;
    checkCount(found.length / 3, "triangles");
    const triangles = Float64Array.from({ length: 3 * found.length }, (_, i) => positions[3 * found[Math.floor(i / 3)] + (i % 3)]);
    return mesh(triangles, null, []);
}
