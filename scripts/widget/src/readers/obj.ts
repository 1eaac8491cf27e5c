/**
 * Wavefront OBJ into coloured triangles; materials and textures are files that were dropped with it.
 *
 * A texture replaces the diffuse colour Kd; vertex colours replace Kd.
 */

import { clip, round } from "../colors";
import { checkCount, DEFAULT_COLOR, ShapeError, type Part, type Shape, type Texture } from "../shapes";
import type { Companions } from "./companions";
import { triangulate } from "./polygons";

interface Material {
    color: [number, number, number] | null;
    texture: string | null;
}

export async function readObj(data: Uint8Array, files: Companions): Promise<Shape> {
    const positions: number[] = [];
    const colors: number[] = [];
    const uvs: number[] = [];
    const sizes: number[] = [];
    const vertices: number[] = [];
    const places: number[] = [];
    const materialOf: number[] = [];
    const names: string[] = [];
    const libraries: string[] = [];
    let material = -1;
    const text = plainLines(decoded(data));
    for (let start = 0; start < text.length; ) {
        let end = text.indexOf("\n", start);
        if (end < 0) end = text.length;
        const line = text.slice(start, end).trim();
        start = end + 1;
        const words = line.split(/\s+/);
        if (words[0] === "v") {
            for (let i = 1; i < 4; i++) positions.push(Number(words[i]));
            for (let i = 4; i < 7; i++) colors.push(words.length >= 7 ? Number(words[i]) : NaN);
        } else if (words[0] === "vt") {
            uvs.push(Number(words[1]), words.length > 2 ? Number(words[2]) : 0);
        } else if (words[0] === "f") {
            for (let i = 1; i < words.length; i++) {
                const [vertex, place] = words[i].split("/");
                vertices.push(index(vertex, positions.length / 3, "vertex"));
                places.push(place ? index(place, uvs.length / 2, null) : -1);
            }
            sizes.push(words.length - 1);
            materialOf.push(material);
        } else if (words[0] === "usemtl") {
            const name = line.slice(6).trim();
            material = names.indexOf(name);
            if (material < 0) material = names.push(name) - 1;
        } else if (words[0] === "mtllib") {
            libraries.push(line.slice(6).trim());
        }
    }
    checkCount(positions.length / 3, "points");
    checkCount(sizes.length, "triangles");
    const xyz = Float64Array.from(positions);
    const own = vertexColors(colors);
    if (!sizes.length) return { kind: "cloud", xyz, rgb: own && filled(own), warnings: [], upAxis: null };
    const { corners, owners } = triangulate(xyz, vertices, sizes);
    checkCount(owners.length, "triangles");
    const { materials, warnings } = readLibraries(libraries, files);
    // As MeshLab does, and the Python package.
    const sole = !names.length && materials.size === 1 && uvs.length ? [...materials.values()][0] : undefined;
    if (!own && !libraries.length && names.length) warnings.push("its materials have no colours: no mtllib names them");
    const parts: Part[] = [];
    for (const used of [...new Set(owners.map((owner) => materialOf[owner]))].sort((a, b) => a - b)) {
        const its: Material = materials.get(names[used]) ?? sole ?? { color: null, texture: null };
        const texture = its.texture ? await files.picture(its.texture, warnings) : null;
        const [plain, textured]: [number[], number[]] = [[], []];
        owners.forEach((owner, face) => {
            if (materialOf[owner] !== used) return;
            const here = corners.slice(3 * face, 3 * face + 3);
            (texture && here.every((corner) => places[corner] >= 0) ? textured : plain).push(...here);
        });
        if (plain.length) parts.push(plainPart(plain, vertices, xyz, its, own));
        if (texture && textured.length) parts.push(texturedPart(textured, vertices, places, xyz, uvs, its, texture));
    }
    return { kind: "mesh", parts, warnings, upAxis: null };
}

/** Each statement in one line: comments cut first, as some end with a path's backslash, which joins other lines. */
function plainLines(text: string): string {
    const lines = text.replace(/\r\n?/g, "\n").replace(/^[ \t]*#.*$/gm, "").replace(/\\[ \t]*\n/g, " ");
    return lines.replace(/^([ \t]*(?:v|vt|f)[ \t][^#\n]*)#.*$/gm, "$1");
}

/** As UTF-8, else as the encoding of Chinese tools, else byte by byte. */
function decoded(data: Uint8Array): string {
    for (const encoding of ["utf-8", "gb18030"]) {
        try {
            return new TextDecoder(encoding, { fatal: true }).decode(data);
        } catch {
            // The next one.
        }
    }
    return new TextDecoder("latin1").decode(data);
}

/** From 1, or from the end where negative; `what` names what must exist, else -1 says that it does not. */
function index(word: string, count: number, what: string | null): number {
    const given = Number(word);
    const found = given < 0 ? count + given : given - 1;
    if (Number.isInteger(found) && found >= 0 && found < count) return found;
    if (what) throw new ShapeError(`a face names a ${what} that does not exist (${word.slice(0, 20)})`);
    return -1;
}

function diffuse(material: Material): [number, number, number] {
    return material.color ? (material.color.map((value) => round(value * 255)) as [number, number, number]) : DEFAULT_COLOR;
}

function plainPart(corners: number[], vertices: number[], xyz: Float64Array, material: Material, own: number[] | null): Part {
    const part: Part = {
        triangles: cornerValues(corners, vertices, xyz, 3),
        colors: diffuse(material),
        texture: null,
        uv: null,
        tint: null,
        wrap: ["repeat", "repeat"],
        isColored: material.color !== null,
    };
    if (own) {
        const stored = cornerValues(corners, vertices, own, 3);
        const kd = diffuse(material);
        part.isColored ||= stored.some((value) => !Number.isNaN(value));
        part.colors = Uint8Array.from(stored, (value, i) => (Number.isNaN(value) ? kd[i % 3] : round(value * 255)));
    }
    return part;
}

function texturedPart(
    corners: number[], vertices: number[], places: number[], xyz: Float64Array, uvs: number[], material: Material, texture: Texture,
): Part {
    return {
        triangles: cornerValues(corners, vertices, xyz, 3),
        colors: diffuse(material),
        texture,
        uv: cornerValues(corners, places, uvs, 2).map((value) => (Number.isFinite(value) ? value : 0)),
        tint: null,
        wrap: ["repeat", "repeat"],
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
function vertexColors(colors: number[]): number[] | null {
    let [low, high, whole, any] = [Infinity, -Infinity, true, false];
    for (const value of colors) {
        if (Number.isNaN(value)) continue;
        any = true;
        low = Math.min(low, value);
        high = Math.max(high, value);
        whole &&= Number.isInteger(value);
    }
    if (!any) return null;
    if (high > 1 && high <= 255 && low >= 0 && whole) return colors.map((value) => value / 255);
    if (low < -0.01 || high > 1.01) throw new ShapeError(`its vertex colours are from ${low} to ${high}; expected 0..1`);
    return colors.map((value) => (Number.isNaN(value) ? value : clip(value, 0, 1)));
}

function filled(colors: number[]): Uint8Array {
    return Uint8Array.from(colors, (value, i) => round(Number.isNaN(value) ? DEFAULT_COLOR[i % 3] : value * 255));
}

function readLibraries(libraries: string[], files: Companions): { materials: Map<string, Material>; warnings: string[] } {
    const materials = new Map<string, Material>();
    const warnings: string[] = [];
    // A line may name several, and a name may have spaces.
    const wanted = libraries.flatMap((line) => (files.find(line) ? [line] : line.split(/\s+/)));
    for (const library of new Set(wanted)) {
        const data = files.find(library);
        if (!data) {
            warnings.push(`its colours are in ${library}, which was not dropped with it`);
            continue;
        }
        let current: Material | null = null;
        for (const line of decoded(data).split(/[\r\n]+/)) {
            const [keyword, ...rest] = line.trim().split(/\s+/);
            if (keyword.toLowerCase() === "newmtl") {
                current = { color: null, texture: null };
                const name = rest.join(" ");
                if (!materials.has(name)) materials.set(name, current);
            } else if (current && keyword.toLowerCase() === "kd") {
                const values = rest.slice(0, 3).map(Number);
                const three = values.length === 1 ? [values[0], values[0], values[0]] : values;
                if (three.length === 3 && three.every(Number.isFinite)) {
                    current.color = three.map((value) => clip(value, 0, 1)) as [number, number, number];
                }
            } else if (current && keyword.toLowerCase() === "map_kd" && rest.length) {
                if (rest[0].startsWith("-")) warnings.push("options of textures are left out here");
                current.texture = rest[0].startsWith("-") ? rest[rest.length - 1] : rest.join(" ");
            }
        }
    }
    return { materials, warnings };
}
