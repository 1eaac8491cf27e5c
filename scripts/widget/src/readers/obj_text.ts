/** The text of an OBJ file as arrays: vertices, colours, texture coordinates and polygons; the twin of `obj_text`. */

import { checkCount, ShapeError } from "../shapes";
import { decodedText } from "./encodings";
import { parseNumber, withPlainNan } from "./number_text";
import { withoutEnd } from "./text_ends";

/** In place of texture coordinates that a corner does not have. */
export const MISSING = -1;
const BEFORE_THE_FIRST = -2;
const INFINITE = /1\.#inf\d*/gi;
// Numbers of a vertex beyond its position: a weight, a colour, an opacity.
const FURTHER = 5;
const CURVED = ["curv", "curv2", "surf"];

export interface ObjText {
    xyz: Float64Array;
    /** As written, three numbers a vertex, all nan where one has none; null where no vertex has any. */
    colors: number[] | null;
    uvs: number[];
    /** Of each corner, its place in `xyz`, and in `uvs` or `MISSING`. */
    vertices: number[];
    places: number[];
    /** How many corners each polygon has. */
    sizes: number[];
    /** Of each polygon, a place in `names`, or -1. */
    materials: number[];
    names: string[];
    /** Of each polygon, its object and its groups; null for none. */
    objects: (string | null)[];
    groups: (string | null)[];
    libraries: string[];
    warnings: string[];
}

export function parseObj(data: Uint8Array): ObjText {
    const text = plainLines(decodedText(data));
    const [positions, further, uvs, vertices, places]: number[][] = [[], [], [], [], []];
    const [sizes, materials]: number[][] = [[], []];
    const names = new Map<string, number>();
    const libraries: string[] = [];
    const [objects, groups]: (string | null)[][] = [[], []];
    let [object, group]: (string | null)[] = [null, null];
    let material = -1;
    let most = 0;
    let isCurved = false;
    for (let start = 0; start < text.length; ) {
        let end = text.indexOf("\n", start);
        if (end < 0) end = text.length;
        const line = text.slice(start, end).trim();
        start = end + 1;
        const keyword = line.split(/\s/, 1)[0];
        if (keyword === "v") {
            const numbers = numbersOf(line, "v", 3);
            if (numbers.length > 3 || further.length) {
                while (further.length < (FURTHER * positions.length) / 3) further.push(NaN);
                for (let i = 3; i < 3 + FURTHER; i++) further.push(i < numbers.length ? numbers[i] : NaN);
            }
            positions.push(numbers[0], numbers[1], numbers[2]);
            most = Math.max(most, numbers.length);
        } else if (keyword === "vt") {
            const [u, v] = numbersOf(line, "vt", 1);
            uvs.push(u, v ?? 0);
        } else if (keyword === "f" || keyword === "fo") {
            const words = wordsOf(line);
            for (const word of words) {
                const [vertex, place] = word.split("/");
                vertices.push(placeOf(vertex, positions.length / 3));
                places.push(place ? placeOf(place, uvs.length / 2) : MISSING);
            }
            sizes.push(words.length);
            materials.push(material);
            objects.push(object);
            groups.push(group);
        } else if (keyword === "usemtl") {
            const name = line.slice(6).trim();
            if (!names.has(name)) names.set(name, names.size);
            material = names.get(name)!;
        } else if (keyword === "o") {
            object = line.slice(1).trim();
        } else if (keyword === "g") {
            group = line.slice(1).trim();
        } else if (keyword === "mtllib") {
            libraries.push(line.slice(6).trim());
        } else if (CURVED.includes(keyword)) {
            isCurved = true;
        }
    }
    const count = positions.length / 3;
    checkCount(count, "points");
    checkCount(sizes.length, "triangles");
    if (isCurved && !sizes.length) throw new ShapeError("it has curves or curved surfaces and no face; export it as polygons");
    const warnings = checkPlaces(vertices, count, places, uvs.length / 2);
    const colors = text.includes("#MRGB") ? painted(text, count) : writtenColors(further, most);
    const xyz = Float64Array.from(positions);
    const kinds = { materials, names: [...names.keys()], objects, groups };
    return { xyz, colors, uvs, vertices, places, sizes, ...kinds, libraries, warnings };
}

/** Each statement in one line. */
function plainLines(text: string): string {
    const lines = withoutEnd(text, /[\0\x1a]/).replace(/\r\n?/g, "\n");
    if (!lines.includes("\\")) return lines;
    // Not in comments: those end with paths of folders. Nor where it is the second byte of a letter, as of Shift JIS.
    return lines.replace(/^[ \t]*#.*$/gm, (comment) => withoutEnd(comment, /[\\ \t]/)).replace(/(?<![\u0080-\uffff])\\[ \t]*\n/g, " ");
}

/** Of a line without its comment, what follows the keyword. */
function wordsOf(line: string): string[] {
    const plain = line.includes("#") ? withPlainNan(line).replace(INFINITE, "inf").replace(/#.*/, "") : withPlainNan(line);
    return plain.trim().split(/\s+/).slice(1);
}

function numbersOf(line: string, kind: string, least: number): number[] {
    const words = wordsOf(line);
    if (words.length < least) {
        throw new ShapeError(`a '${kind}' line has ${words.length} numbers, expected at least ${least}: ${line.slice(0, 60)}`);
    }
    return words.map((word) => parseNumber(word, `a '${kind}' line`));
}

/** From an index from 1 or, where it is negative, back from what was written before; faces may precede the others. */
function placeOf(word: string, seen: number): number {
    const index = word ? parseNumber(word, "a face") : NaN;
    if (!Number.isInteger(index)) throw new ShapeError(`a face names a corner by what is no whole number (${word.slice(0, 20)})`);
    if (index >= 0) return index - 1;
    return seen + index >= 0 ? seen + index : BEFORE_THE_FIRST;
}

/** Refuses vertices that do not exist; of texture coordinates, a warning. */
function checkPlaces(vertices: number[], count: number, places: number[], uvCount: number): string[] {
    for (const vertex of vertices) {
        if (vertex === MISSING) throw new ShapeError("a face names a vertex 0; they are counted from 1");
        if (vertex < 0 || vertex >= count) throw new ShapeError(`a face names a vertex that does not exist (there are ${count})`);
    }
    let lost = 0;
    places.forEach((place, corner) => {
        if (place !== BEFORE_THE_FIRST && place < uvCount) return;
        places[corner] = MISSING;
        lost++;
    });
    return lost ? [`texture coordinates that do not exist: ${lost} corners`] : [];
}

/** Of ZBrush's comments, eight hexadecimal digits a vertex: mask, red, green, blue. */
function painted(text: string, count: number): number[] | null {
    const digits = Array.from(text.matchAll(/^[ \t]*#MRGB[ \t]+([0-9A-Fa-f]+)[ \t]*$/gm), (match) => match[1]).join("");
    const found = Math.min(Math.floor(digits.length / 8), count);
    const byte = (vertex: number, channel: number) => parseInt(digits.slice(8 * vertex + 2 * channel, 8 * vertex + 2 * channel + 2), 16);
    if (!found) return null;
    return Array.from({ length: 3 * count }, (_, i) => (i < 3 * found ? byte(Math.floor(i / 3), 1 + (i % 3)) / 255 : NaN));
}

/**
 * Of lines v x y z r g b. A seventh number is an opacity, unless the fourth is a weight of 1 in every line; of eight, the
 * fourth is a weight.
 *
 * @param further `FURTHER` numbers a vertex, nan where it has fewer.
 * @param most Numbers of the line that has most of them.
 */
function writtenColors(further: number[], most: number): number[] | null {
    if (most < 6) return null;
    let isWeighted = most > 7;
    if (most === 7) {
        let [areOnes, isOther] = [true, false];
        for (let i = 0; i < further.length; i += FURTHER) {
            if (Number.isNaN(further[i + 3])) continue;
            areOnes &&= further[i] === 1;
            isOther ||= further[i + 3] !== 1;
        }
        isWeighted = areOnes && isOther;
    }
    const colors: number[] = [];
    for (let i = isWeighted ? 1 : 0; i < further.length; i += FURTHER) {
        const isWhole = !Number.isNaN(further[i] + further[i + 1] + further[i + 2]);
        for (let c = 0; c < 3; c++) colors.push(isWhole ? further[i + c] : NaN);
    }
    return colors.every(Number.isNaN) ? null : colors;
}
