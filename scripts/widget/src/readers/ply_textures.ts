/** Textures of PLY files, which comments name; corners or vertices say where they lie. The twin of `mrd_hf.models.ply_textures`. */

import type { Column, Columns } from "./ply_text";

const UV_NAMES = [
    ["s", "t"], ["u", "v"], ["texture_u", "texture_v"], ["texture_s", "texture_t"], ["tex_u", "tex_v"], ["tx", "ty"],
    ["u0", "v0"], ["texcoord_u", "texcoord_v"],
];
export const NO_TEXTURE = -1;

/** Files that comments name. */
export function textureNames(comments: string[]): string[] {
    const found = comments.map((comment) => /^texturefile:?\s+(.+)$/i.exec(comment));
    return found.flatMap((match) => (match ? [match[1].trim().replace(/^["']+|["']+$/g, "")] : []));
}

/**
 * Where textures lie on triangles.
 *
 * @param faces The polygons' own properties.
 * @param sizes Corners of each polygon.
 * @param corners Three a triangle: places among all polygons' corners.
 * @param owners The polygon of each triangle.
 * @param here The vertex of each of those corners.
 * @returns Two numbers a corner, and the number of the texture of each triangle, or `NO_TEXTURE`; null without coordinates.
 */
export function placeTextures(
    vertices: Columns, faces: Columns, sizes: ArrayLike<number>, corners: number[], owners: number[], here: number[],
): { uv: Float64Array; chosen: number[] } | null {
    const byCorner = faces.get("texcoord");
    const placed = byCorner?.lengths ? ofCorners(byCorner, byCorner.lengths, sizes, corners, owners) : null;
    const { uv, has } = placed ?? ofVertices(vertices, here) ?? { uv: null, has: null };
    if (!uv) return null;
    const numbers = faces.get("texnumber");
    const chosen = owners.map((owner, i) => {
        if (has && !has[i]) return NO_TEXTURE;
        return numbers && !numbers.lengths ? Math.trunc(numbers.values[owner]) : 0;
    });
    return { uv: uv.map((value) => (Number.isFinite(value) ? value : 0)), chosen };
}

/** Null where no triangle has any. */
function ofCorners(
    { values }: Column, lengths: ArrayLike<number>, sizes: ArrayLike<number>, corners: number[], owners: number[],
): { uv: Float64Array; has: boolean[] } | null {
    const [firstCorner, firstValue]: number[][] = [[], []];
    for (let polygon = 0, corner = 0, value = 0; polygon < sizes.length; polygon++) {
        firstCorner.push(corner);
        firstValue.push(value);
        corner += sizes[polygon];
        value += lengths[polygon];
    }
    const has = owners.map((owner) => lengths[owner] === 2 * sizes[owner]);
    if (!has.includes(true)) return null;
    const uv = new Float64Array(2 * corners.length);
    corners.forEach((corner, i) => {
        const owner = owners[Math.floor(i / 3)];
        if (!has[Math.floor(i / 3)]) return;
        const at = firstValue[owner] + 2 * (corner - firstCorner[owner]);
        uv.set([values[at], values[at + 1]], 2 * i);
    });
    return { uv, has };
}

function ofVertices(vertices: Columns, here: number[]): { uv: Float64Array; has: null } | null {
    const pairs = UV_NAMES.map((names) => names.map((name) => vertices.get(name)));
    const pair = pairs.find((columns) => columns.every((column) => column && !column.lengths));
    if (!pair) return null;
    return { uv: Float64Array.from({ length: 2 * here.length }, (_, i) => pair[i % 2]!.values[here[i >> 1]]), has: null };
}
