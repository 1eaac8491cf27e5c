/** Parts of the page by their ids, and what is put into them. */

export const element = <Kind extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as Kind;

export function item(text: string): HTMLLIElement {
    const line = document.createElement("li");
    line.textContent = text;
    return line;
}

export function row(left: Node | string, right: string): HTMLLIElement {
    const line = document.createElement("li");
    const [first, second] = [document.createElement("span"), document.createElement("span")];
    first.append(left);
    second.textContent = right;
    line.append(first, second);
    return line;
}

export function sentence(message: string): string {
    return message.charAt(0).toUpperCase() + message.slice(1).replace(/\.$/, "") + ".";
}

/** `share` is null while it is not known, and undefined for no bar. */
export function progress(text: string, share: number | null | undefined): void {
    element("status").textContent = text;
    const bar = element<HTMLProgressElement>("progress");
    bar.hidden = share === undefined;
    if (share === null || share === undefined) bar.removeAttribute("value");
    else bar.value = share;
}

export function problem(text: string): void {
    element("problem").textContent = text;
    element("problem").hidden = !text;
}
