// The trace explorer and the filter of the table of numbers; explorer_text.js, before this, puts texts into the page.
const VERDICTS = { 1: ["✓", "right"], 0: ["✗", "wrong"], "-": ["–", "no answer"], "?": ["?", "undecided, counted as wrong"] };
const MANY = 10;  // blocks of a trace that are drawn at once; of more, only those that are seen
const ENDS = [
  (n) => `end suppressed at ${n}`, (n) => `● The model ends its thinking here, after ${n} tokens.`,
  (n) => `◆ A likely place to end past the budget: ended here, after ${n} tokens.`,
  (n) => `■ Cut here, after ${n} tokens: the end of thinking is forced`];

function setUpFilter() {  // of the table of published numbers: all rows are there without it
  const words = get("numbers-search"), status = get("numbers-status"), table = get("numbers");
  if (!table) return;
  const rows = [...table.tBodies[0].rows].map((row) => [row, row.textContent.toLowerCase(), row.dataset.status]);
  const filter = () => {
    let shown = 0;
    for (const [row, text, is] of rows) {
      row.hidden = !text.includes(words.value.toLowerCase()) || (status.value !== "" && status.value !== is);
      shown += !row.hidden;
    }
    get("numbers-count").textContent = `${shown} of ${rows.length} numbers`;
  };
  get("numbers-form").hidden = false;
  get("numbers-form").addEventListener("submit", (event) => event.preventDefault());
  for (const element of [words, status]) element.addEventListener("input", filter);
  filter();
}

function setUpExplorer(data) {
  const app = get("explorer-app"), level = Number(get("explorer").dataset.level), formula = new RegExp(data.formula, "g");
  const state = { question: -1, series: 0, place: -1, places: [], detail: null, shown: "" };
  const blocksOf = new Map();
  const { search, filter, list, count, series, slider, strip, status, question, gold, trace, notes, maths, votes } = build();
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) dress(entry.target);
  }, { root: trace, rootMargin: "1000px" });

  function label(parent, text, tag, properties) {
    const element = make(make(parent, "label", text), tag, "", properties);
    return element;
  }

  function build() {
    const heading = (parent, text) => make(parent, `h${level + 1}`, text);
    make(app, "p", "Choose a question and slide: its thinking is cut there, and the answer is the one the model then gave. " +
      "“▸ end suppressed” marks where the model wanted to stop and “Wait” was put in instead, “■” a forced cut, “●” an end of its own.", { className: "soft" });
    const choose = make(app, "form", "", { className: "choose" });
    choose.addEventListener("submit", (event) => event.preventDefault());
    heading(choose, "Choose a question");
    const row = make(choose, "div", "", { className: "row" });
    const search = label(row, "Search in questions", "input", { type: "search", id: "search" });
    const filter = label(row, "Show", "select", { id: "filter" });
    for (const [value, text] of [["", "all questions"], ["changes", "those whose verdict changes along the slider"], ["right", "those always right"], ["wrong", "those never right"]])
      make(filter, "option", text, { value });
    const list = label(choose, "Question", "select", { id: "question", size: 6 });
    const count = make(choose, "p", "", { className: "soft", id: "count" });
    count.setAttribute("role", "status");
    const question = make(app, "blockquote", "", { id: "asked", className: "text", dir: "auto" });
    const gold = make(app, "p", "", { id: "gold" });
    const force = make(app, "div", "", { className: "force" });
    heading(force, "Force its thinking");
    const series = label(force, "How its thinking is controlled", "select", { id: "series" });
    const slider = label(force, "How far", "input", { type: "range", id: "slider", min: 0, step: 1 });
    const strip = make(force, "ol", "", { className: "strip", id: "strip" });
    strip.setAttribute("aria-label", "The answer at every place of the slider");
    const status = make(force, "p", "", { id: "status", className: "verdict" });
    status.setAttribute("role", "status");
    const trace = make(app, "div", "", { id: "trace", className: "trace", tabIndex: 0 });
    trace.setAttribute("role", "region");
    trace.setAttribute("aria-label", "Thinking and answer");
    const notes = make(app, "p", "", { className: "soft", id: "notes" });
    const maths = make(make(app, "label", "", { className: "check" }), "input", "", { type: "checkbox", id: "maths", checked: true });
    maths.parentElement.append(" mathematics as formulas, not as LaTeX");
    const votes = make(app, "div", "", { id: "votes" });
    return { search, filter, list, count, series, slider, strip, status, question, gold, trace, notes, maths, votes };
  }

  function appendRich(parent, text) {
    const trees = state.detail.math;
    let at = 0;
    for (const match of text.matchAll(formula)) {
      appendText(parent, text.slice(at, match.index));
      if (maths.checked && Object.hasOwn(trees, match[0])) appendMath(parent, trees[match[0]]);
      else appendText(make(parent, "code"), match[0]);
      at = match.index + match[0].length;
    }
    appendText(parent, text.slice(at));
  }

  function drawTrace(point) {
    const [base, cut, tail, , events] = point, text = state.detail.texts[base];
    if (!blocksOf.has(base)) blocksOf.set(base, split(text));
    const blocks = blocksOf.get(base), marks = events.filter((event) => event[0] === 0 && event[2] !== null);
    let next = 0, drawn = 0;
    trace.lastElementChild?.remove();  // how the last one ended
    for (const [start, end] of blocks) {
      if (start >= cut) break;
      const stop = Math.min(end, cut), inside = [];
      while (next < marks.length && (marks[next][2] < end || end === text.length)) inside.push(marks[next++]);
      const key = [base, start, stop, maths.checked, inside.join(";")].join("|");
      let element = trace.children[drawn];
      if (element?.key !== key) {
        const fresh = Object.assign(document.createElement("div"), { className: "text block", dir: "auto", key });
        Object.assign(fresh, { draw: () => drawBlock(fresh, text, start, stop, inside), isDressed: false });
        if (element) element.replaceWith(fresh); else trace.append(fresh);
        fresh.textContent = text.slice(start, stop);
        if (blocks.length > MANY) seen.observe(fresh); else dress(fresh);
      }
      drawn += 1;
    }
    while (trace.children.length > drawn) trace.lastElementChild.remove();
    for (const element of [...trace.children].slice(-2)) dress(element);  // where it was cut
    trace.classList.toggle("many", blocks.length > MANY);
    drawEnd(point, tail);
  }

  function dress(element) {
    if (element.isDressed) return;
    element.isDressed = true;
    seen.unobserve(element);
    element.replaceChildren();
    element.draw();
  }

  function drawBlock(element, text, start, stop, marks) {
    let at = start;
    for (const [, token, place, forced] of marks) {
      appendRich(element, text.slice(at, place));
      const mark = make(element, "mark", "", { className: "wait" });
      make(mark, "bdi", `▸ ${ENDS[0](token)}${forced ? ", forced:" : ", nothing appended"} `, { className: "tag", dir: "ltr" });
      appendText(mark, text.slice(place, Math.min(place + forced, stop)));
      at = Math.min(place + forced, stop);
    }
    appendRich(element, text.slice(at, stop));
  }

  function drawEnd(point, tail) {
    const [, , , tokens, events, finish, answer, , verdict, missing] = point, last = events.at(-1);
    const end = make(trace, "div", "", { className: "end" });
    if (tail) appendText(make(end, "div", "", { className: "text", dir: "auto" }), tail);
    if (missing) make(end, "p", `[${missing.toLocaleString("en")} more characters aren't kept in this page]`);
    const kind = last && typeof last[0] === "number" ? last[0] : -1;
    const said = kind > 0 ? ENDS[kind](last[1].toLocaleString("en")) : `The thinking ends here, after ${tokens ?? "?"} tokens (${showHidden(finish)}).`;
    const also = kind === 3 ? (/^\s*Final Answer:/.test(answer || "") ? ", and “Final Answer:” after it." : ".") : "";
    make(end, "p", said + also, { className: `ending ending-${kind}` });
    const box = make(end, "div", "", { className: "answer" });
    make(box, "span", `Answer (${VERDICTS[verdict][1]}):`, { className: "tag" });
    appendRich(make(box, "div", "", { className: "text", dir: "auto" }), (answer ?? "(none)").trim());
    if (/length$/.test(finish || "")) make(box, "p", "The answer was cut at its limit.", { className: "soft" });
    const lost = events.filter((event) => event[2] === null).map((event) => event[1]);
    notes.textContent = lost.length ? `Ends were also suppressed at tokens ${lost.join(", ")}; where that is in the text isn't known.` : "";
  }

  function describe(point) {
    const sign = VERDICTS[point[8]];
    return point[7] === null ? `${sign[0]} ${sign[1]}` : `${shorten(showHidden(point[7]), 40)} ${sign[0]} ${sign[1]}`;
  }

  function showPoint(isMoved) {
    const place = state.places[Number(slider.value)], point = state.detail.points[state.series][place];
    const name = data.series[state.series].settings[place][1];
    state.place = place;
    slider.setAttribute("aria-valuetext", name);
    [...strip.children].forEach((item, i) => {
      if (i === Number(slider.value)) item.setAttribute("aria-current", "true"); else item.removeAttribute("aria-current");
    });
    const now = describe(point), before = state.shown;
    status.textContent = `${name}: answer ${now}${isMoved && before && before !== now ? `; it was ${before}` : ""}.`;
    status.dataset.verdict = point[8];
    state.shown = now;
    drawTrace(point);
    trace.scrollTop = isMoved ? trace.scrollHeight : 0;
  }

  function showSeries() {
    const points = state.detail.points[state.series], names = data.series[state.series].settings;
    state.places = points.flatMap((point, i) => (point ? [i] : []));
    state.shown = "";
    strip.replaceChildren();
    for (const [i, place] of state.places.entries()) {
      const item = make(strip, "li");
      make(item, "span", names[place][1], { className: "soft" });
      item.append(" ", make(item, "bdi", describe(points[place]), { className: `is-${points[place][8].replace(/\W/, "none")}` }));
      item.addEventListener("click", () => { slider.value = i; showPoint(true); });
    }
    slider.max = Math.max(0, state.places.length - 1);
    slider.disabled = state.places.length < 2;
    slider.value = state.places.includes(state.place) ? state.places.indexOf(state.place) : slider.max;
    trace.hidden = !state.places.length;
    if (state.places.length) showPoint(false);
    else status.textContent = data.series[state.series].control === "sampled" ? "The traces of this question's samples aren't kept in this page." : "Not run on this question.";
  }

  function nameWinner(answers) {
    const real = answers.filter(([answer]) => answer !== null), best = real.filter(([, n]) => n === real[0][1]);
    if (!best.length) return "no answer at all";
    const names = best.map(([answer]) => shorten(showHidden(answer), 20)).join(" and ");
    return best.length > 1 ? `a tie of ${names}` : `the majority says ${names} ${VERDICTS[best[0][2]].join(" ")}`;
  }

  function showVotes() {
    votes.replaceChildren();
    if (!state.detail.votes.length) return;
    make(votes, `h${level + 1}`, "See the votes");
    make(votes, "p", "Samples of the same question, at a temperature above 0: how many gave which answer.", { className: "soft" });
    const tables = make(votes, "div", "", { className: "tables" });
    for (const [name, total, answers] of state.detail.votes) {
      const table = make(make(tables, "div", "", { className: "scroll", tabIndex: 0 }), "table");
      make(table, "caption", `${name}, ${total} samples: ${nameWinner(answers)}`);
      const head = make(make(table, "thead"), "tr"), body = make(table, "tbody");
      for (const text of ["answer", "votes", "verdict"]) make(head, "th", text, { scope: "col" });
      for (const [answer, n, verdict] of answers) {
        const row = make(body, "tr");
        make(make(row, "th", "", { scope: "row" }), "bdi", answer === null ? "(none)" : shorten(showHidden(answer), 80));
        const cell = make(row, "td", `${n} `);
        make(cell, "span", "", { className: `bar bar-${verdict === "1"}` }).style.width = `${6 * n / total}em`;
        make(row, "td", VERDICTS[verdict].join(" "), { className: verdict === "1" ? "is-1" : "" });
      }
    }
    for (const box of votes.querySelectorAll(".scroll")) {
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", `Votes, ${box.querySelector("caption").textContent}`);
    }
  }

  async function unpack(pack) {
    const bytes = Uint8Array.from(atob(pack), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  async function showQuestion() {
    const chosen = Number(list.value);
    if (list.value === "" || chosen === state.question) return;
    state.question = chosen;
    const detail = await unpack(data.packs[chosen]);
    if (state.question !== chosen) return;  // another was chosen meanwhile
    state.detail = detail;
    blocksOf.clear();
    trace.replaceChildren();
    showAsked();
    showSeries();
    showVotes();
    app.dataset.ready = data.questions[chosen][2];
  }

  function showAsked() {
    maths.parentElement.hidden = !Object.keys(state.detail.math).length;
    question.replaceChildren();
    appendRich(question, state.detail.question);
    gold.replaceChildren(make(gold, "strong", "Right answer: "));
    make(gold, "bdi", state.detail.gold === null ? "(not recorded)" : showHidden(state.detail.gold));
  }

  function redraw() {
    if (!state.detail) return;
    const top = trace.scrollTop;
    showAsked();
    showPoint(false);
    trace.scrollTop = top;
  }

  function fits(entry, words) {
    const signs = entry[3][state.series].replaceAll(" ", ""), kind = filter.value;
    if (kind && !signs) return false;
    if (kind === "changes" && new Set(signs).size < 2) return false;
    if (kind === "right" && /[^1]/.test(signs)) return false;
    if (kind === "wrong" && signs.includes("1")) return false;
    return !words || `${entry[0]} ${entry[1]} ${entry[2]}`.toLowerCase().includes(words);
  }

  function update() {
    const words = search.value.toLowerCase(), kept = String(state.question);
    const found = [...data.questions.keys()].filter((i) => fits(data.questions[i], words));
    list.replaceChildren(...found.map((i) => {
      const [title, domain] = data.questions[i], option = document.createElement("option");
      option.textContent = showHidden(`${title}${domain ? ` (${domain})` : ""}`);
      return Object.assign(option, { value: String(i), dir: "auto" });
    }));
    list.value = found.includes(Number(kept)) ? kept : found.length ? String(found[0]) : "";
    count.textContent = `${found.length} of ${data.questions.length} questions`;
    showQuestion();
  }

  data.series.forEach((one, i) => make(series, "option", showHidden(one.name), { value: String(i) }));
  let timer = 0;
  search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(update, 150); });
  filter.addEventListener("change", update);
  list.addEventListener("change", showQuestion);
  series.addEventListener("change", () => { state.series = Number(series.value); state.place = -1; if (filter.value) update(); if (state.detail) showSeries(); });
  slider.addEventListener("input", () => showPoint(true));
  maths.addEventListener("change", redraw);
  update();
}

setUpFilter();
if (get("explorer-data")) {
  if (typeof DecompressionStream === "function") setUpExplorer(JSON.parse(get("explorer-data").textContent));
  else make(get("explorer-app"), "p", "This browser can't unpack the traces (it has no DecompressionStream): use a newer one.");
}
