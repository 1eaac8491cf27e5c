/** Which parts of a mesh are read: not its collision meshes, nor what is named; the twin of `mrd_hf.models.left_out_parts`. */

import { ShapeError, type Shape } from "./shapes";

/** Of the key `input` of encoder.json. */
export interface PartChoice {
    keep_collision?: boolean;
    /** A regular expression. */
    skip_parts?: string | null;
}

const COLLISION = [/collider|collision|^ucx_|-(?:col|colonly|convcolonly)$/i, /^(?:UBX|USP|UCP)_/];
const LISTED = 5;
const MAX_NAME = 60;

/** Whether a part with these names of objects, groups or nodes may be left out. */
export function leavesOut({ keep_collision, skip_parts }: PartChoice): (names: string[]) => boolean {
    const skip = expression(skip_parts, []);
    return (names) => (!keep_collision && collisionOf(names) !== undefined) || names.some((name) => skip?.test(name));
}

/** The name that says it is a collision mesh. */
function collisionOf(groups: string[]): string | undefined {
    return groups.find((name) => COLLISION.some((pattern) => pattern.test(name.trim())));
}

/** The shape without the parts that are left out, and a warning that says which. */
export function chosenParts(shape: Shape, { keep_collision, skip_parts }: PartChoice): Shape {
    if (shape.kind === "cloud") return shape;
    const skip = expression(skip_parts, shape.warnings);
    const names = shape.parts.map(({ name = "", groups = [] }) => ({
        skipped: skip ? [name, ...groups].find((each) => skip.test(each)) : undefined,
        collision: keep_collision ? undefined : collisionOf(groups),
    }));
    // In Python letters and digits of all languages are.
    const isOfAscii = shape.parts.every(({ name = "", groups = [] }) => [name, ...groups].every((each) => /^[\x00-\x7f]*$/.test(each)));
    if (skip && !isOfAscii && /\\[wWdDsSbB]/.test(skip.source)) {
        shape.warnings.unshift("the encoder's skip_parts may leave out other parts here than in Python: names have other letters than a to z");
    }
    const skipped = names.flatMap((part) => (part.skipped === undefined ? [] : [part.skipped]));
    if (skipped.length && skipped.length === shape.parts.length) {
        throw new ShapeError(`the encoder's skip_parts '${skip_parts}' matches all its parts (${listed(skipped)})`);
    }
    if (skipped.length) {
        shape.warnings.unshift(`${skipped.length} of ${shape.parts.length} parts left out, as skip_parts says: ${listed(skipped)}`);
    }
    const rest = shape.parts.map((part, i) => ({ part, ...names[i] })).filter((each) => each.skipped === undefined);
    const collision = rest.flatMap((each) => (each.collision === undefined ? [] : [each.collision]));
    const seen = rest.filter((each) => each.collision === undefined);
    if (!seen.some(({ part }) => part.triangles.length)) {
        if (collision.length) shape.warnings.unshift(`nothing but collision meshes, so they are read: ${listed(collision)}`);
        return { ...shape, parts: rest.map(({ part }) => part) };
    }
    if (collision.length) {
        const few = collision.length === 1 ? "1 collision mesh" : `${collision.length} collision meshes`;
        shape.warnings.unshift(`${few} of ${shape.parts.length} parts left out: ${listed(collision)}`);
    }
    return { ...shape, parts: seen.map(({ part }) => part) };
}

/** Python's, most of which are JavaScript's too. */
function expression(pattern: string | null | undefined, warnings: string[]): RegExp | null {
    if (pattern === null || pattern === undefined) return null;
    const ignoresCase = pattern.startsWith("(?i)");
    try {
        return new RegExp(ignoresCase ? pattern.slice(4) : pattern, ignoresCase ? "iu" : "u");
    } catch {
        warnings.unshift(`the encoder's skip_parts '${pattern}' is not understood here, and leaves nothing out`);
        return null;
    }
}

function listed(names: string[]): string {
    const different = [...new Set(names)];
    const shown = different.slice(0, LISTED).map((name) => name.slice(0, MAX_NAME) || "''").join(", ");
    return different.length > LISTED ? `${shown} and ${different.length - LISTED} more` : shown;
}
