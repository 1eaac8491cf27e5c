/**
 * Wavefront OBJ into coloured triangles; materials and textures are files that were dropped with it.
 *
 * A texture replaces the diffuse colour Kd; vertex colours replace Kd; a mask cuts holes.
 */

import { clip, round } from "../colors";
import { leavesOut, type PartChoice } from "../left_out_parts";
import { checkCount, DEFAULT_COLOR, ShapeError, type Part, type Shape, type Texture } from "../shapes";
import type { Companions } from "./companions";
import { readable } from "./encodings";
import { findMaterial, readLibraries, type ObjMaterial, type ObjTexture } from "./obj_materials";
import { MISSING, parseObj, type ObjText } from "./obj_text";
import { placesByNumber, triangulate } from "./polygons";

const NO_MATERIAL: ObjMaterial = { color: null, texture: null, mask: null };

export async function readObj(data: Uint8Array, files: Companions, choice: PartChoice): Promise<Shape> {
    const text = parseObj(data);
    const { xyz, sizes, names, libraries, warnings } = text;
    const own = vertexColors(text.colors);
    if (!sizes.length) return { kind: "cloud", xyz, rgb: own && filled(own), warnings, upAxis: null };
    const { corners, owners } = triangulate(xyz, text.vertices, sizes);
    checkCount(owners.length, "triangles");
    const materials = readLibraries(libraries, files, warnings);
    // As MeshLab does, and the Python package.
    const [soleName, sole] = (!names.length && materials.size === 1 && text.uvs.length && [...materials][0]) || ["", NO_MATERIAL];
    if (!own && !libraries.length && names.some(Boolean)) warnings.push("its materials have no colours: no mtllib names them");
    const parts: Part[] = [];
    const { apart, found } = setApart(text, choice);
    // Polygons of one material, those first that are not apart.
    const count = names.length + 1;
    const pieces = text.materials.map((material, polygon) => (apart[polygon] + 1) * count + material + 1);
    const textures = new Map<number, Awaited<ReturnType<typeof textureOf>>>();
    for (const [piece, faces] of placesByNumber(owners.map((owner) => pieces[owner]))) {
        const [used, aside] = [(piece % count) - 1, Math.floor(piece / count) - 1];
        const its = used < 0 ? sole : (names[used] && findMaterial(materials, names[used])) || NO_MATERIAL;
        if (!textures.has(used)) textures.set(used, await textureOf(its, files, warnings));
        const { texture, placed } = textures.get(used)!;
        const [plain, textured]: [number[], number[]] = [[], []];
        for (const face of faces) {
            const here = corners.slice(3 * face, 3 * face + 3);
            (texture && here.every((corner) => text.places[corner] !== MISSING) ? textured : plain).push(...here);
        }
        const called = { name: readable(names[used] ?? soleName), groups: found[aside] ?? [] };
        if (plain.length) parts.push({ ...plainPart(plain, text, its, own), ...called });
        if (texture && placed && textured.length) parts.push({ ...texturedPart(textured, text, its, texture, placed), ...called });
    }
    return { kind: "mesh", parts, warnings: [...new Set(warnings)], upAxis: null };
}

/** Objects and groups that may be left out, by their names, and which of them each polygon is in, -1 for none. */
function setApart(text: ObjText, choice: PartChoice): { apart: number[]; found: string[][] } {
    const isLeftOut = leavesOut(choice);
    const found: string[][] = [];
    const places = [text.objects, text.groups].map((names, kind) => {
        const known = new Map<string | null, number>([[null, -1]]);
        for (const name of new Set(names)) {
            if (name === null) continue;
            const shown = readable(name);
            // A polygon may be in several groups.
            const all = kind === 0 ? [shown] : [shown, ...shown.split(/\s+/)];
            known.set(name, isLeftOut(all) ? found.push(all) - 1 : -1);
        }
        return names.map((name) => known.get(name)!);
    });
    return { apart: places[0].map((place, polygon) => (place < 0 ? places[1][polygon] : place)), found };
}

/** A material's texture with the holes of its mask, and how they lie. */
async function textureOf(
    material: ObjMaterial, files: Companions, warnings: string[],
): Promise<{ texture: Texture | null; placed: ObjTexture | null }> {
    const texture = material.texture && (await files.picture(material.texture.name, warnings));
    const mask = material.mask && (await files.picture(material.mask.name, warnings));
    const asItIs = { texture, placed: material.texture };
    if (!mask || !material.mask) return asItIs;
    let opacity = Uint8Array.from({ length: mask.width * mask.height }, (_, i) => mask.data[4 * i + 3]);
    if (opacity.every((value) => value === 255)) {
        // A picture without opacity is no mask of itself.
        if (material.texture?.name === material.mask.name) return asItIs;
        opacity = opacity.map((_, i) => round(0.299 * mask.data[4 * i] + 0.587 * mask.data[4 * i + 1] + 0.114 * mask.data[4 * i + 2]));
    }
    const its = { width: mask.width, height: mask.height, opacity };
    if (!texture || !material.texture) {
        const color = diffuse(material);
        const plain = { ...mask, data: Uint8Array.from(mask.data, (_, i) => (i % 4 === 3 ? 255 : color[i % 4])) };
        return { texture: masked(files, plain, its), placed: material.mask };
    }
    if (JSON.stringify({ ...material.texture, name: "" }) !== JSON.stringify({ ...material.mask, name: "" })) {
        warnings.push(`map_d left out, as it lies otherwise than map_Kd: ${readable(material.mask.name)}`);
        return asItIs;
    }
    try {
        return { texture: masked(files, texture, its), placed: material.texture };
    } catch (error) {
        if (!(error instanceof ShapeError)) throw error;
        warnings.push(`map_d left out: ${error.message}`);
        return asItIs;
    }
}

/** As large as the larger of both. */
function masked(files: Companions, texture: Texture, mask: { width: number; height: number; opacity: Uint8Array }): Texture {
    const [width, height] = [Math.max(texture.width, mask.width), Math.max(texture.height, mask.height)];
    files.takeTexels(width * height);
    const data = new Uint8Array(4 * width * height);
    const place = (row: number, column: number, from: { width: number; height: number }) =>
        Math.floor((row * from.height) / height) * from.width + Math.floor((column * from.width) / width);
    for (let row = 0, at = 0; row < height; row++) {
        for (let column = 0; column < width; column++, at += 4) {
            const texel = 4 * place(row, column, texture);
            for (let channel = 0; channel < 3; channel++) data[at + channel] = texture.data[texel + channel];
            data[at + 3] = Math.min(texture.data[texel + 3], mask.opacity[place(row, column, mask)]);
        }
    }
    return { width, height, data };
}

function diffuse(material: ObjMaterial): [number, number, number] {
    return material.color ? (material.color.map((value) => round(value * 255)) as [number, number, number]) : DEFAULT_COLOR;
}

function plainPart(corners: number[], text: ObjText, material: ObjMaterial, own: number[] | null): Part {
    const part: Part = {
        triangles: cornerValues(corners, text.vertices, text.xyz, 3),
        colors: diffuse(material),
        texture: null,
        uv: null,
        tint: null,
        wrap: ["repeat", "repeat"],
        isColored: material.color !== null,
    };
    if (own) {
        const stored = cornerValues(corners, text.vertices, own, 3);
        const kd = diffuse(material);
        part.isColored ||= stored.some((value) => !Number.isNaN(value));
        part.colors = Uint8Array.from(stored, (value, i) => (Number.isNaN(value) ? kd[i % 3] : round(value * 255)));
    }
    return part;
}

function texturedPart(corners: number[], text: ObjText, material: ObjMaterial, texture: Texture, placed: ObjTexture): Part {
    const uv = cornerValues(corners, text.places, text.uvs, 2);
    return {
        triangles: cornerValues(corners, text.vertices, text.xyz, 3),
        colors: diffuse(material),
        texture,
        uv: uv.map((value, i) => (Number.isFinite(value) ? value : 0) * placed.scale[i % 2] + placed.offset[i % 2]),
        tint: null,
        wrap: [placed.wrap, placed.wrap],
        isColored: true,
    };
}

function cornerValues(corners: number[], rows: number[], values: ArrayLike<number>, width: number): Float64Array {
    const found = new Float64Array(width * corners.length);
    corners.forEach((corner, i) => {
        for (let k = 0; k < width; k++) found[width * i + k] = values[width * rows[corner] + k];
    });
    return found;
}

/** In 0..1, nan where a vertex has none; null where no vertex has one. */
function vertexColors(colors: number[] | null): number[] | null {
    let [low, high, whole] = [Infinity, -Infinity, true];
    for (const value of colors ?? []) {
        if (Number.isNaN(value)) continue;
        low = Math.min(low, value);
        high = Math.max(high, value);
        whole &&= Number.isInteger(value);
    }
    if (!colors) return null;
    if (high > 1 && high <= 255 && low >= 0 && whole) return colors.map((value) => value / 255);
    if (low < -0.01 || high > 1.01) throw new ShapeError(`its vertex colours are from ${low} to ${high}; expected 0..1`);
    return colors.map((value) => (Number.isNaN(value) ? value : clip(value, 0, 1)));
}

function filled(colors: number[]): Uint8Array {
    return Uint8Array.from(colors, (value, i) => round(Number.isNaN(value) ? DEFAULT_COLOR[i % 3] : value * 255));
}
