/** The form for labels of one's own: first it tells what they cost, then it takes them. */

import { element, progress, sentence } from "./elements";
import type { FromWorker, ToWorker } from "./protocol";

const MIB = 2 ** 20;

/** A button that is disabled would lose the focus, and a keyboard would begin at the top of the page. */
function setBusy(button: HTMLButtonElement, isBusy: boolean): void {
    button.setAttribute("aria-disabled", String(isBusy));
}

function isBusy(button: HTMLButtonElement): boolean {
    return button.getAttribute("aria-disabled") === "true";
}

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
    /** Whether there are labels to return to. */
    hasOwnLabels = false;

    constructor(ask: (message: ToWorker) => void) {
        this.size.addEventListener("click", () => {
            if (isBusy(this.size)) return;
            setBusy(this.size, true);
            this.say("");
            ask({ type: "textSize" });
        });
        this.form.addEventListener("submit", (event) => {
            event.preventDefault();
            if (isBusy(this.go)) return;
            const labels = this.typed.value.split(",").map((label) => label.trim());
            this.wanted = [...new Set(labels.filter((label) => label))];
            this.say(this.wanted.length ? "" : "Type labels, such as: a chair, a lamp.");
            if (!this.wanted.length) return;
            setBusy(this.go, true);
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
        const hadFocus = [this.typed, this.go, this.back].some((each) => each === document.activeElement);
        this.form.hidden = this.back.hidden = true;
        this.size.hidden = false;
        setBusy(this.size, false);
        setBusy(this.go, false);
        if (hadFocus) this.size.focus();
    }

    showSize({ model, bytes }: Extract<FromWorker, { type: "textSize" }>): void {
        const size = `${(bytes / MIB).toFixed(0)} MiB`;
        // A button that is hidden takes the focus with it.
        const hadFocus = document.activeElement === this.size;
        this.size.hidden = true;
        this.form.hidden = false;
        setBusy(this.go, false);
        this.facts.textContent =
            `The text model is ${model} on huggingface.co, ${size}. It is fetched once you press the button. Your labels and ` +
            "shapes are not sent there.";
        this.go.textContent = `Download ${size} and classify`;
        if (hadFocus) this.typed.focus();
    }

    showDone(): void {
        this.go.textContent = "Classify";
        setBusy(this.go, false);
        const hadFocus = document.activeElement === this.back;
        this.back.hidden = this.wanted.length === 0 || !this.hasOwnLabels;
        if (hadFocus && this.back.hidden) this.go.focus();
    }

    showFailed(message: string): void {
        this.say(sentence(message));
        setBusy(this.go, false);
        setBusy(this.size, false);
    }

    private say(text: string): void {
        this.trouble.textContent = text;
        this.trouble.hidden = !text;
    }
}
