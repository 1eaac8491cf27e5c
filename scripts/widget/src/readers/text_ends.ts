/** Ends of texts. A regular expression such as /x+$/ looks at each run of x once for each of its letters. */

/** A text without the letters at its end that `kind`, a pattern of one letter, matches. */
export function withoutEnd(text: string, kind: RegExp): string {
    let length = text.length;
    while (length && kind.test(text[length - 1])) length--;
    return text.slice(0, length);
}
