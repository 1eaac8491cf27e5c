/** PLY into coloured triangles or, of a file without any face, points: scans and Gaussian splats. */

import { storedColorsAsBytes } from "../colors";
import { checkCount, DEFAULT_COLOR, keepFaces, ShapeError, type Part, type Shape } from "../shapes";
import type { Companions } from "./companions";
import { splatColors, unpackSplats, visible } from "./ply_splats";
import { PACKED_NAMES, parsePly, SIZES, type Column, type Columns } from "./ply_text";
import { NO_TEXTURE, placeTextures, textureNames } from "./ply_textures";
import { placesByNumber, triangulate } from "./polygons";

const INDEX_NAMES = ["vertex_indices", "vertex_index", "vertex_indexes", "vertex_list", "vertices", "indices"];
export const COLOR_NAMES = [
    ["red", "green", "blue"],
    ["r", "g", "b"],
    ["diffuse_red", "diffuse_green", "diffuse_blue"],
];
const SPLAT_NAMES = ["f_dc_0", "f_dc_1", "f_dc_2"];
const COLOR_WORD = /colou?r|rgb|bgr|albedo|(?<![a-z])(red|green|blue|diffuse)(?![a-z])/i;

export async function readPly(data: Uint8Array, files: Companions): Promise<Shape> {
    const { elements, comments, warnings } = parsePly(data);
    if (elements.get("vertex")?.has("packed_position")) elements.set("vertex", unpackSplats(elements));
    const vertices: Columns = elements.get("vertex") ?? new Map();
    const faces: Columns = elements.get("face") ?? new Map();
    const axes = ["x", "y", "z"].map((axis) => vertices.get(axis));
    if (axes.some((axis) => !axis || axis.lengths)) throw new ShapeError("its element 'vertex' has no x, y and z");
    const count = axes[0]!.values.length;
    const xyz = Float64Array.from({ length: 3 * count }, (_, i) => axes[i % 3]!.values[Math.floor(i / 3)]);
    const colors = readColors(vertices, "vertices", warnings);
    const own = indexList(faces, "face");
    const strips = indexList(elements.get("tristrips") ?? new Map(), "tristrips");
    const indices = own?.values.length ? own : strips && fromStrips(strips);
    if (!indices?.values.length) {
        const opacity = vertices.has("f_dc_0") ? vertices.get("opacity") : undefined;
        return { kind: "cloud", ...visible(xyz, colors, opacity), warnings, upAxis: null };
    }
    const places = Float64Array.from(indices.values, Math.trunc);
    for (const place of places) {
        if (!(place >= 0 && place < count)) throw new ShapeError(`a face names a vertex that does not exist (${place})`);
    }
    checkCount(indices.lengths!.length, "triangles");
    const { corners, owners } = triangulate(xyz, places, indices.lengths!);
    checkCount(owners.length, "triangles");
    const here = corners.map((corner) => places[corner]);
    const faceColors = own === indices ? readColors(faces, "faces", warnings) : null;
    const pick = (i: number) => (colors ? colors[3 * here[Math.floor(i / 3)] + (i % 3)] : faceColors![3 * owners[Math.floor(i / 9)] + (i % 3)]);
    const whole: Part = {
        triangles: Float64Array.from({ length: 9 * owners.length }, (_, i) => xyz[3 * here[Math.floor(i / 3)] + (i % 3)]),
        colors: colors || faceColors ? Uint8Array.from({ length: 9 * owners.length }, (_, i) => pick(i)) : DEFAULT_COLOR,
        texture: null,
        uv: null,
        tint: null,
        wrap: ["repeat", "repeat"],
        isColored: colors !== null || faceColors !== null,
    };
    const pictures = textureNames(comments);
    const its = own === indices ? faces : new Map<string, Column>();
    const placed = pictures.length ? placeTextures(vertices, its, indices.lengths!, corners, owners, here) : null;
    const parts = placed ? await texturedParts(whole, pictures, placed, files, warnings) : [whole];
    return { kind: "mesh", parts, warnings: [...new Set(warnings)], upAxis: null };
}

/** A part for each texture, and one, the last, for what has none. */
async function texturedParts(
    whole: Part, pictures: string[], { uv, chosen }: { uv: Float64Array; chosen: number[] }, files: Companions, warnings: string[],
): Promise<Part[]> {
    const known = chosen.map((number) => (number >= 0 && number < pictures.length ? number : pictures.length));
    if (chosen.some((number, face) => number !== NO_TEXTURE && known[face] === pictures.length)) {
        warnings.push("some faces have textures that no comment names");
    }
    const parts: Part[] = [];
    for (const [number, its] of placesByNumber(known)) {
        const part: Part = { ...whole, uv };
        keepFaces(part, its);
        part.texture = number < pictures.length ? await files.picture(pictures[number], warnings) : null;
        parts.push(part.texture ? { ...part, isColored: true } : { ...part, uv: null });
    }
    return parts;
}

/** The list of corners; null where there is none, and no row that should have one. */
function indexList(columns: Columns, name: string): Column | null {
    const found = INDEX_NAMES.map((known) => columns.get(known)).find((column) => column?.lengths);
    const [first] = columns.values();
    if (!found && first && (first.lengths ?? first.values).length) {
        const has = [...columns.keys()].join(", ").slice(0, 80);
        throw new ShapeError(`its element '${name}' has none of the lists ${INDEX_NAMES.join(", ")} (it has ${has})`);
    }
    return found ?? null;
}

/** Triangles of strips that end with -1 or with their list. */
function fromStrips(strips: Column): Column {
    const values: number[] = [];
    let start = 0;
    for (const length of strips.lengths!) {
        // As in Python, where the first strip of all turns the other way.
        let first = start || -1;
        let run = 0;
        for (let i = start; i < start + length; i++) {
            if (strips.values[i] < 0) [first, run] = [i, 0];
            else run++;
            if (run < 3) continue;
            const odd = (i - 2 - first) % 2;
            values.push(strips.values[i - 2], strips.values[i - 1 + odd], strips.values[i - odd]);
        }
        start += length;
    }
    return { type: "int", values, lengths: Array.from({ length: values.length / 3 }, () => 3) };
}

/** Three bytes a row; null, and a warning if there is what looks like colours, where there are none. */
function readColors(columns: Columns, whose: string, warnings: string[]): Uint8Array | null {
    const three = (names: string[]): Column[] | null => {
        const found = names.map((name) => columns.get(name));
        return found.every((column) => column && !column.lengths) ? (found as Column[]) : null;
    };
    const joined = (found: Column[]) =>
        Float64Array.from({ length: 3 * found[0].values.length }, (_, i) => found[i % 3].values[Math.floor(i / 3)]);
    for (const names of COLOR_NAMES) {
        const found = three(names);
        if (found) return ofTypes(joined(found), found.map(({ type }) => type));
    }
    const packed = PACKED_NAMES.map((name) => columns.get(name)).find((column) => column && !column.lengths);
    if (packed && SIZES[packed.type] === 4) return unpacked(packed);
    const splats = three(SPLAT_NAMES);
    if (splats) return splatColors(joined(splats));
    const names = [...columns.keys()];
    const single = names.filter((name) => ["r", "g", "b"].includes(name));
    const unknown = names.filter((name) => COLOR_WORD.test(name) || (single.length > 1 && single.includes(name)));
    if (unknown.length) warnings.push(`colours of ${whose} not understood: ${unknown.join(", ")}`);
    return null;
}

/** Of numbers as they are stored, and their types as PLY names them. */
export function ofTypes(values: Float64Array, types: string[]): Uint8Array {
    if (types.every((type) => type === "char")) return Uint8Array.from(values, (value) => value & 255);
    if (types.every((type) => type === "float")) return storedColorsAsBytes(values, "float");
    if (types.some((type) => type === "float" || type === "double")) return storedColorsAsBytes(values, "double");
    const isShort = types.includes("ushort") && types.every((type) => type === "ushort" || type === "uchar");
    return storedColorsAsBytes(values, isShort ? "short" : "byte");
}

/** Colours whose four bytes are one number: blue, green, red from the lowest. */
function unpacked({ type, values }: Column): Uint8Array {
    const bits = type === "float" ? new Uint32Array(Float32Array.from(values).buffer) : Uint32Array.from(values);
    return Uint8Array.from({ length: 3 * bits.length }, (_, i) => bits[Math.floor(i / 3)] >>> (16 - 8 * (i % 3)));
}
