/** MTL material libraries: diffuse colours, textures and the masks that cut holes; the twin of `mrd_hf.models.obj_materials`. */

import { clip } from "../colors";
import type { Wrap } from "../shapes";
import type { Companions } from "./companions";
import { decodedText, readable, spellings } from "./encodings";

export interface ObjTexture {
    name: string;
    /** Texture coordinates are multiplied, then moved. */
    scale: [number, number];
    offset: [number, number];
    wrap: Wrap;
}
export interface ObjMaterial {
    /** `Kd`, sRGB in 0..1. */
    color: [number, number, number] | null;
    texture: ObjTexture | null;
    /** `map_d`, how opaque it is. */
    mask: ObjTexture | null;
}

// How many words each option of a texture takes, at least and at most.
const OPTIONS: Record<string, [number, number]> = {
    "-blendu": [1, 1], "-blendv": [1, 1], "-bm": [1, 1], "-boost": [1, 1], "-cc": [1, 1], "-clamp": [1, 1],
    "-colorspace": [1, 1], "-imfchan": [1, 1], "-mm": [1, 2], "-o": [1, 3], "-s": [1, 3], "-t": [1, 3],
    "-texres": [1, 1], "-type": [1, 1],
};

/** The materials of all libraries; of two of one name, the first library's counts. */
export function readLibraries(lines: string[], files: Companions, warnings: string[]): Map<string, ObjMaterial> {
    const materials = new Map<string, ObjMaterial>();
    // A line may name several, and a name may have spaces.
    const wanted = lines.flatMap((line) => (files.find(line) ? [line] : line.split(/\s+/)));
    for (const library of new Set(wanted)) {
        const data = files.find(library);
        if (!data) {
            warnings.push(`its colours are in ${readable(library)}, which was not dropped with it`);
            continue;
        }
        for (const [name, material] of parseMtl(data, warnings)) if (!materials.has(name)) materials.set(name, material);
    }
    return materials;
}

/** The material of a name, with or without a comment after it. */
export function findMaterial(materials: Map<string, ObjMaterial>, name: string): ObjMaterial | null {
    const bare = (text: string) => text.replace(/ ?#.*/, "");
    const key = spaced(name);
    const exact = materials.get(key) ?? materials.get(bare(key));
    if (exact) return exact;
    for (const [known, material] of materials) if (bare(known) === key || bare(known) === bare(key)) return material;
    // The mesh and its library may be of two encodings.
    const texts = spellings(bare(key));
    for (const [known, material] of materials) if (spellings(bare(known)).some((text) => texts.includes(text))) return material;
    return null;
}

function spaced(name: string): string {
    return name.trim().split(/\s+/).join(" ");
}

function parseMtl(data: Uint8Array, warnings: string[]): Map<string, ObjMaterial> {
    const materials = new Map<string, ObjMaterial>();
    let current: ObjMaterial | null = null;
    for (const line of decodedText(data).split(/[\r\n]+/)) {
        const [, word, rest] = /^(\S*)\s*(.*)$/s.exec(line.trim().replaceAll("\t", " "))!;
        const keyword = word.toLowerCase();
        if (keyword === "newmtl") {
            // One that is named again goes on.
            current = materials.get(spaced(rest)) ?? { color: null, texture: null, mask: null };
            materials.set(spaced(rest), current);
        } else if (!current || !rest) {
            continue;
        } else if (keyword === "kd") {
            const color = colorOf(rest);
            if (color) current.color = color;
            else warnings.push(`a colour is not understood: Kd ${readable(rest.slice(0, 60))}`);
        } else if (keyword === "map_kd" || keyword === "map_d" || keyword === "map_opacity") {
            const texture = textureOf(rest);
            if (texture) current[keyword === "map_kd" ? "texture" : "mask"] = texture;
            else warnings.push(`a texture is not understood: ${readable(rest.slice(0, 60))}`);
        }
    }
    return materials;
}

/** Three numbers, or one for all three; null for a spectral file, CIE XYZ or nonsense. */
function colorOf(rest: string): [number, number, number] | null {
    const words = rest.split("#")[0].trim().split(/\s+/).slice(0, 3);
    const values = words.map((word) => (word ? Number(word) : NaN));
    const three = values.length === 1 ? [values[0], values[0], values[0]] : values;
    if (three.length !== 3 || !three.every(Number.isFinite)) return null;
    return three.map((value) => clip(value, 0, 1)) as [number, number, number];
}

/** Options and a file's name, which may have spaces. */
function textureOf(given: string): ObjTexture | null {
    let rest = given;
    const pairs: Record<string, [number, number]> = { "-s": [1, 1], "-o": [0, 0] };
    let wrap: Wrap = "repeat";
    while (rest.startsWith("-")) {
        let [option, after] = cut(rest);
        option = option.toLowerCase();
        if (!(option in OPTIONS)) break; // a name may begin so
        const [least, most] = OPTIONS[option];
        const values: string[] = [];
        while (values.length < most) {
            const [word, remaining] = cut(after);
            // A name may begin with a number: the last word is always of the name.
            if (!remaining || (values.length >= least && Number.isNaN(Number(word)))) break;
            values.push(word);
            after = remaining;
        }
        if (option === "-clamp" && values[0]?.toLowerCase() === "on") wrap = "clamp";
        const numbers = values.map(Number);
        if (option in pairs && values.length && !numbers.some(Number.isNaN)) {
            pairs[option] = [numbers[0], numbers[1] ?? (option === "-s" ? 1 : 0)];
        }
        rest = after;
    }
    return rest ? { name: rest, scale: pairs["-s"], offset: pairs["-o"], wrap } : null;
}

/** A first word, and what follows it. */
function cut(text: string): [string, string] {
    const end = text.indexOf(" ");
    return end < 0 ? [text, ""] : [text.slice(0, end), text.slice(end).trimStart()];
}
