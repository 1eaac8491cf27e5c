// The form for labels of one's own, on stand-ins of the page's elements.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { bundled } from "./bundled.mjs";

const { LabelsForm } = await bundled("labels_form");
const SIZE = { type: "textSize", model: "org/texts", bytes: 2 ** 21 };

class StubElement extends EventTarget {
    hidden = true;
    value = "";
    textContent = "";
    attributes = {};
    removeAttribute() {}
    setAttribute(name, value) {
        this.attributes[name] = value;
    }
    getAttribute(name) {
        return this.attributes[name] ?? null;
    }
    focus() {
        document.activeElement = this;
    }
}

let elements, asked, form;

const isBusy = (id) => on(id).attributes["aria-disabled"] === "true";
const on = (id) => (elements[id] ??= new StubElement());

function type(labels) {
    on("texts-labels").value = labels;
    on("texts-form").dispatchEvent(new Event("submit", { cancelable: true }));
}

beforeEach(() => {
    [elements, asked] = [{}, []];
    globalThis.document = { getElementById: on, body: {} };
    form = new LabelsForm((message) => asked.push(message));
    form.reset();
    form.hasOwnLabels = true;
    on("texts-size").dispatchEvent(new Event("click"));
    form.showSize(SIZE);
});

test("where the button had the focus that tells the size, the labels have it then", () => {
    const elsewhere = new StubElement();
    for (const [before, after] of [["texts-size", "texts-labels"], ["elsewhere", "elsewhere"]]) {
        elements.elsewhere = elsewhere;
        form.reset();
        on(before).focus();
        form.showSize(SIZE);
        assert.equal(document.activeElement, on(after));
    }
});

test("where there are no labels but those that are typed, none are offered to return to", () => {
    form.hasOwnLabels = false;
    type("lamp");
    form.showDone();
    assert.equal(on("texts-back").hidden, true);
});

test("the focus stays on what is shown", () => {
    type("lamp");
    form.showDone();
    on("texts-back").focus();
    on("texts-back").dispatchEvent(new Event("click"));
    form.showDone();
    assert.deepEqual([on("texts-back").hidden, document.activeElement], [true, on("texts-go")]);
    form.reset();
    assert.deepEqual([on("texts-form").hidden, document.activeElement], [true, on("texts-size")]);
});

test("labels are taken once each, and asked for once", () => {
    assert.equal(on("texts-go").textContent, "Download 2 MiB and classify");
    type(" lamp, chair,, lamp ");
    assert.deepEqual(asked, [{ type: "textSize" }, { type: "texts", labels: ["lamp", "chair"] }]);
    assert.equal(isBusy("texts-go"), true);
    type("sofa");
    assert.equal(asked.length, 2);
    form.showDone();
    assert.deepEqual([isBusy("texts-go"), on("texts-back").hidden], [false, false]);
});

test("no labels are no question", () => {
    type(" , ");
    assert.deepEqual([asked.length, on("texts-problem").hidden, isBusy("texts-go")], [1, false, false]);
});

test("of a new worker everything is asked again", () => {
    type("lamp");
    form.showDone();
    type("chair");
    form.showFailed("no such model");
    assert.match(on("texts-facts").textContent, /is fetched once you press/);
    form.reset();
    assert.deepEqual([on("texts-problem").textContent, on("texts-problem").hidden, on("texts-facts").textContent], ["", true, ""]);
    assert.deepEqual([on("texts-size").hidden, isBusy("texts-size")], [false, false]);
    assert.deepEqual([on("texts-form").hidden, on("texts-back").hidden], [true, true]);
    form.showSize(SIZE);
    assert.equal(isBusy("texts-go"), false);
    form.showDone();
    assert.equal(on("texts-back").hidden, true);
});

test("what failed can be asked again", () => {
    type("lamp");
    form.showFailed("the Hub cannot be reached");
    assert.equal(on("texts-problem").textContent, "The Hub cannot be reached.");
    assert.deepEqual([isBusy("texts-go"), isBusy("texts-size")], [false, false]);
});
