/** Shapes of any size, scale and place into the values that an encoder takes; the twin of `point_preparation`. */

import type { PartChoice } from "./left_out_parts";
import { Generator } from "./random";
import { sampleSurface } from "./sampling";
import type { ColoredPoints, Shape, UpAxis } from "./shapes";

/** The key `input` of encoder.json. */
export interface InputSettings extends PartChoice {
    num_points: number;
    normalize: boolean;
    up_axis: UpAxis;
    encoder_up_axis: UpAxis;
    default_color: number;
}

/** Points of a shape that was read: drawn from a mesh's surface; those of a cloud as they are. */
export function coloredPoints(shape: Shape, count: number): ColoredPoints {
    if (shape.kind === "cloud") {
        return { xyz: shape.xyz, rgb: shape.rgb instanceof Uint8Array ? inUnits(shape.rgb) : shape.rgb };
    }
    const drawn = sampleSurface(shape, count, new Generator());
    return { xyz: drawn.xyz, rgb: shape.parts.some((part) => part.isColored) ? inUnits(drawn.rgb) : null };
}

/** `point_values` of one shape, six numbers a point. */
export function pointValues(points: ColoredPoints, upAxis: UpAxis | null, settings: InputSettings): Float32Array {
    const available = points.xyz.length / 3;
    const xyz = settings.normalize ? normalized(points.xyz) : points.xyz;
    const count = settings.num_points;
    const order = available > count ? new Generator().permutation(available) : null;
    const up = upAxis ?? settings.up_axis;
    const values = new Float32Array(6 * count);
    for (let i = 0; i < count; i++) {
        const from = 3 * (order ? order[i] : i % available);
        const to = 6 * i;
        const [x, y, z] = [xyz[from], xyz[from + 1], xyz[from + 2]];
        values[to] = x;
        // A quarter turn about x, which way depends on where up is.
        if (up === settings.encoder_up_axis) [values[to + 1], values[to + 2]] = [y, z];
        else if (up === "z") [values[to + 1], values[to + 2]] = [z, -y];
        else [values[to + 1], values[to + 2]] = [-z, y];
        for (let c = 0; c < 3; c++) values[to + 3 + c] = points.rgb ? points.rgb[from + c] : settings.default_color;
    }
    return values;
}

function inUnits(bytes: Uint8Array): Float32Array {
    return Float32Array.from(bytes, (value) => value / 255);
}

/** Centred, the farthest point at distance 1; from one of the points, so that far from the origin no digit is lost. */
function normalized(xyz: Float64Array): Float64Array {
    const moved = new Float64Array(xyz.length);
    const sums = [0, 0, 0];
    for (let i = 0; i < xyz.length; i++) sums[i % 3] += moved[i] = xyz[i] - xyz[i % 3];
    const count = xyz.length / 3;
    let farthest = 0;
    for (let i = 0; i < xyz.length; i += 3) {
        for (let axis = 0; axis < 3; axis++) moved[i + axis] -= sums[axis] / count;
        farthest = Math.max(farthest, moved[i] ** 2 + moved[i + 1] ** 2 + moved[i + 2] ** 2);
    }
    const radius = Math.sqrt(farthest);
    if (radius > 0) for (let i = 0; i < xyz.length; i++) moved[i] /= radius;
    return moved;
}
