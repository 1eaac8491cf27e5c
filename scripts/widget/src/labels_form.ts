/** The form for labels of one's own: first it tells what they cost, then it takes them. */

import { element, progress, sentence } from "./elements";
import type { FromWorker, ToWorker } from "./protocol";

const MIB = 2 ** 20;

export class LabelsForm {
    private readonly size = element<HTMLButtonElement>("texts-size");
    private readonly form = element<HTMLFormElement>("texts-form");
    private readonly typed = element<HTMLInputElement>("texts-labels");
    private readonly go = element<HTMLButtonElement>("texts-go");
    private readonly back = element<HTMLButtonElement>("texts-back");
    private readonly facts = element("texts-facts");
    private readonly trouble = element("texts-problem");
    private readonly firstFacts = this.facts.textContent;
    private wanted: string[] = [];

    constructor(ask: (message: ToWorker) => void) {
        this.size.addEventListener("click", () => {
            this.size.disabled = true;
            this.say("");
            ask({ type: "textSize" });
        });
        this.form.addEventListener("submit", (event) => {
            event.preventDefault();
            const labels = this.typed.value.split(",").map((label) => label.trim());
            this.wanted = [...new Set(labels.filter((label) => label))];
            this.say(this.wanted.length ? "" : "Type labels, such as: a chair, a lamp.");
            if (!this.wanted.length) return;
            this.go.disabled = true;
            progress("Embedding the labels ...", null);
            ask({ type: "texts", labels: this.wanted });
        });
        this.back.addEventListener("click", () => {
            this.wanted = [];
            ask({ type: "ownLabels" });
        });
    }

    /** As at first: the text model was that of a worker which is gone. */
    reset(): void {
        this.wanted = [];
        this.say("");
        this.facts.textContent = this.firstFacts;
        this.form.hidden = this.back.hidden = true;
        this.size.hidden = this.size.disabled = this.go.disabled = false;
    }

    showSize({ model, bytes }: Extract<FromWorker, { type: "textSize" }>): void {
        const size = `${(bytes / MIB).toFixed(0)} MiB`;
        // A button that is hidden takes the focus with it; disabled it has lost it already.
        const hasFocus = [this.size, document.body].includes(document.activeElement as HTMLElement);
        this.size.hidden = true;
        this.form.hidden = this.go.disabled = false;
        this.facts.textContent =
            `The text model is ${model} on huggingface.co, ${size}. It is fetched once you press the button. Your labels and ` +
            "shapes are not sent there.";
        this.go.textContent = `Download ${size} and classify`;
        if (hasFocus) this.typed.focus();
    }

    showDone(): void {
        this.go.textContent = "Classify";
        this.go.disabled = false;
        this.back.hidden = this.wanted.length === 0;
    }

    showFailed(message: string): void {
        this.say(sentence(message));
        this.go.disabled = this.size.disabled = false;
    }

    private say(text: string): void {
        this.trouble.textContent = text;
        this.trouble.hidden = !text;
    }
}
