/** Numbers that are written as text; what is no number is refused, and never 0 or nan. */

import { ShapeError } from "../shapes";

// As the libraries of several compilers spell them: -nan(ind), 1.#QNAN.
const NOT_A_NUMBER = /[-+]?(?:nan\([^)\s]{0,40}\)|1\.#(?:qnan|snan|ind)\d*)/gi;
const MAX_SHOWN = 30;

/** The text with each spelling of nan as `nan`, before a number sign in one is taken for a comment. */
export function withPlainNan(text: string): string {
    return text.includes("#") || text.includes("(") ? text.replace(NOT_A_NUMBER, "nan") : text;
}

/**
 * The number that a word is.
 *
 * @param word Not empty, and without blanks.
 * @param where What the message of an error begins with.
 */
export function parseNumber(word: string, where: string): number {
    const value = Number(word);
    // JavaScript reads 0x1F, 0b1 and 0o7 as well.
    if (!Number.isNaN(value) && !(word.length > 2 && /^0[xbo]/i.test(word))) return value;
    const bare = word.replace(/^[-+]/, "").toLowerCase();
    if (bare === "nan") return NaN;
    if (bare === "inf" || bare === "infinity") return word.startsWith("-") ? -Infinity : Infinity;
    const hint = /\d,\d/.test(word) ? "; decimals have a point, not a comma" : "";
    throw new ShapeError(`${where}: '${word.slice(0, MAX_SHOWN)}' is no number${hint}`);
}
