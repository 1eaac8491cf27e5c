/** Polygons into triangles: convex ones as fans, concave ones by clipping ears; the twin of `mrd_hf.models.polygons`. */

import earcut from "earcut";

/**
 * Places of corners, three a triangle, in a list of vertices.
 *
 * @param positions Three numbers a vertex.
 * @param vertices Of the corners, polygon after polygon.
 * @param sizes Corners of each polygon; those with fewer than three give nothing.
 * @returns The places, and the polygon that each triangle is of.
 */
export function triangulate(
    positions: Float64Array,
    vertices: ArrayLike<number>,
    sizes: ArrayLike<number>,
): { corners: number[]; owners: number[] } {
    const corners: number[] = [];
    const owners: number[] = [];
    let first = 0;
    for (let polygon = 0; polygon < sizes.length; polygon++) {
        const size = sizes[polygon];
        let places = [first];
        for (let i = 1; i < size; i++) places.push(first + i);
        let ears: number[] = [];
        if (size > 3 && isConcave(positions, vertices, places)) {
            if (size === 4) {
                // The other diagonal lies within.
                const turned = [places[1], places[2], places[3], places[0]];
                if (!isConcave(positions, vertices, turned)) places = turned;
            } else {
                ears = earcut(flattened(positions, vertices, places)).map((i) => places[i]);
            }
        }
        if (!ears.length) for (let i = 1; i + 1 < size; i++) ears.push(places[0], places[i], places[i + 1]);
        for (let i = 0; i < ears.length; i++) corners.push(ears[i]);
        for (let i = 0; i < ears.length; i += 3) owners.push(polygon);
        first += size;
    }
    return { corners, owners };
}

/** The places of each number in a list, by the numbers from the lowest, in one pass: shapes have many triangles and materials. */
export function placesByNumber(numbers: number[]): [number, number[]][] {
    const found = new Map<number, number[]>();
    numbers.forEach((number, place) => {
        const its = found.get(number);
        if (its) its.push(place);
        else found.set(number, [place]);
    });
    return [...found].sort(([a], [b]) => a - b);
}

type Vector = [number, number, number];

function relative(positions: Float64Array, vertices: ArrayLike<number>, places: number[]): Vector[] {
    const origin = 3 * vertices[places[0]];
    return places.map((place) => {
        const at = 3 * vertices[place];
        return [0, 1, 2].map((axis) => positions[at + axis] - positions[origin + axis]) as Vector;
    });
}

function cross(a: Vector, b: Vector): Vector {
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

function dot(a: Vector, b: Vector): number {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

/** Newell's, not of unit length. */
function normal(polygon: Vector[]): Vector {
    const sum: Vector = [0, 0, 0];
    polygon.forEach((point, i) => {
        cross(point, polygon[(i + 1) % polygon.length]).forEach((value, axis) => (sum[axis] += value));
    });
    return sum;
}

/** Whether a fan from the first corner would leave the polygon. */
function isConcave(positions: Float64Array, vertices: ArrayLike<number>, places: number[]): boolean {
    const polygon = relative(positions, vertices, places);
    const up = normal(polygon);
    const least = -1e-9 * dot(up, up);
    for (let i = 1; i + 1 < polygon.length; i++) if (dot(cross(polygon[i], polygon[i + 1]), up) < least) return true;
    return false;
}

/** The polygon as seen along its normal. */
function flattened(positions: Float64Array, vertices: ArrayLike<number>, places: number[]): number[] {
    const polygon = relative(positions, vertices, places);
    const up = normal(polygon).map(Math.abs);
    const dropped = up.indexOf(Math.max(...up));
    return polygon.flatMap((point) => point.filter((_, axis) => axis !== dropped));
}
