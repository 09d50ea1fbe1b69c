// Draws the trials of the page: filters them, keeps what is looked at in the address, and answers to keys.
"use strict";
(() => {
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  root.classList.add("has-script");

  // ---- appearance ----

  const stored = (value) => {
    // A page from a file may have no store.
    try {
      if (value !== undefined) localStorage.setItem("xdproof-theme", value);
      return localStorage.getItem("xdproof-theme");
    } catch { return null; }
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const theme = $("theme");
  const sayTheme = () => theme.setAttribute("aria-label", isDark() ? "Change to light" : "Change to dark");
  if (["dark", "light"].includes(stored())) root.dataset.theme = stored();
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    stored(root.dataset.theme);
    sayTheme();
  });
  dark.addEventListener("change", sayTheme);
  sayTheme();

  // What is linked to is opened, with everything that it is in.
  const openTarget = () => {
    const target = location.hash.length > 1 && !location.hash.includes("=") && $(location.hash.slice(1));
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target) target.scrollIntoView();
  };
  const closed = [];
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:not([open])")) {
      details.open = true;
      closed.push(details);
    }
  });
  addEventListener("afterprint", () => { while (closed.length) closed.pop().open = false; });

  if (!$("trials")) {
    addEventListener("hashchange", openTarget);
    openTarget();
    return;
  }

  // ---- data ----

  const data = JSON.parse($("data").textContent);
  const { columns, scenarios, reasons, numbers, frames, failures, trials, protocols, messages, several } = data;
  const VERDICTS = [
    ["fail", "✗"], ["error", "!"], ["xfail", "≈"], ["pass", "✓"], ["skip", "–"], ["unreachable", "∅"],
  ];
  // The places of a trial's row.
  const SCENARIO = 0, COLUMN = 1, VERDICT = 2, REASON = 3, EXPECTED = 4, OBSERVED = 5, SENT = 6, TIME = 7, FAILURE = 8;
  const group = (scenario) => scenario.split("/", 1)[0];
  const groups = scenarios.map(([id]) => group(id));
  const keyOf = (trial) => scenarios[trial[SCENARIO]][0] + columns[trial[COLUMN]].suffix;

  // By weight, then in the order of the plan.
  const order = [];
  for (let verdict = 0; verdict < VERDICTS.length; verdict++) {
    for (let at = 0; at < trials.length; at++) if (trials[at][VERDICT] === verdict) order.push(at);
  }
  let byKey = null;
  const find = (key) => {
    if (!byKey) {
      byKey = new Map();
      for (let at = trials.length - 1; at >= 0; at--) byKey.set(keyOf(trials[at]), at);
    }
    return byKey.has(key) ? byKey.get(key) : -1;
  };

  // ---- the address: #list&verdict=fail&nic=igb&q=vlan&trial=... ----

  const facets = [...document.querySelectorAll(".filters select")];
  const NAMES = ["verdict", "q", ...facets.map((facet) => facet.name)];
  const search = $("search");
  let state = {};

  const read = () => {
    const parameters = new URLSearchParams(location.hash.slice(1).replace(/^list&?/, ""));
    const read = {};
    for (const name of [...NAMES, "trial"]) if (parameters.get(name)) read[name] = parameters.get(name);
    return read;
  };
  const address = (state) => {
    const words = Object.entries(state).filter(([, value]) => value);
    return "#" + ["list", ...words.map(([name, value]) => `${name}=${encodeURIComponent(value)}`)].join("&");
  };
  // A step that the back button takes back; what is typed or gone through by keys is none.
  const go = (change, isStep) => {
    const next = { ...state, ...change };
    if (address(next) === address(state)) return;
    history[isStep ? "pushState" : "replaceState"](null, "", address(next));
    apply(next);
    // Who comes back finds what was left.
    link.href = address(next);
  };

  // ---- filtering ----

  let shown = [];
  const lower = (words) => words.join(" ").toLowerCase();
  const scenarioText = scenarios.map(([id, summary, tags]) => lower([id, summary, ...tags]));
  const reasonText = reasons.map((reason) => reason.toLowerCase());
  const columnText = columns.map((column) =>
    lower([column.kernel, column.nic, column.mode, column.injector, column.program]));

  const filter = () => {
    const verdicts = (state.verdict || "").split(",").filter(Boolean);
    const wanted = VERDICTS.map(([name]) => !verdicts.length || verdicts.includes(name));
    const columnFits = columns.map((column) =>
      ["kernel", "nic", "mode", "injector", "program"].every((name) => !state[name] || column[name] === state[name]));
    const scenarioFits = scenarios.map(([, , tags], at) =>
      (!state.group || groups[at] === state.group) && (!state.tag || tags.includes(state.tag)));
    // Each word has to be found somewhere; each text is searched once, however many trials have it.
    const words = (state.q || "").toLowerCase().split(/\s+/).filter(Boolean).map((word) => ({
      scenario: scenarioText.map((text) => text.includes(word)),
      reason: reasonText.map((text) => text.includes(word)),
      column: columnText.map((text) => text.includes(word)),
      key: (trial) => word.includes("::") && keyOf(trial).toLowerCase().includes(word),
    }));
    const counts = VERDICTS.map(() => 0);
    shown = [];
    for (const at of order) {
      const trial = trials[at];
      if (!columnFits[trial[COLUMN]] || !scenarioFits[trial[SCENARIO]]) continue;
      if (!words.every((word) => word.scenario[trial[SCENARIO]] || word.column[trial[COLUMN]] ||
        (trial[REASON] >= 0 && word.reason[trial[REASON]]) || word.key(trial))) continue;
      counts[trial[VERDICT]]++;
      if (wanted[trial[VERDICT]]) shown.push(at);
    }
    return counts;
  };

  // ---- elements: text is only ever text ----

  const h = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "onclick") element.addEventListener("click", value);
      else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== false && child !== ""));
    return element;
  };
  const badge = (verdict, text) => h("span", { class: `v-${VERDICTS[verdict][0]}` },
    h("span", { class: "symbol", "aria-hidden": "true" }, VERDICTS[verdict][1]), text ?? VERDICTS[verdict][0]);
  const where = (column, sparse) => [
    (!sparse || several.nic || !several.kernel) && column.nic !== "no device" ? column.nic : null,
    column.mode, column.injector, !sparse || several.kernel ? column.kernel : null,
    !sparse || several.program ? column.program : null,
  ].filter(Boolean).join(" · ");
  const grouped = (number) => number < 10000 ? String(number) : String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");

  // ---- the list: only rows that are seen are there ----

  const list = $("trials"), rows = $("rows");
  let height = 0, selected = -1;

  const row = (position) => {
    const at = shown[position], trial = trials[at];
    const [id] = scenarios[trial[SCENARIO]];
    const element = h("div", {
      id: `row-${at}`, class: "row", role: "option", "aria-selected": String(at === selected),
      "aria-setsize": shown.length, "aria-posinset": position + 1,
    }, badge(trial[VERDICT]), h("b", {}, id), h("span", { class: "where" }, where(columns[trial[COLUMN]], true)),
    h("span", { class: "reason" }, trial[REASON] >= 0 ? reasons[trial[REASON]].slice(0, 300) : ""));
    element.style.top = `${position * height}px`;
    return element;
  };
  const draw = () => {
    const first = Math.max(0, Math.floor(list.scrollTop / height) - 6);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / height) + 6);
    const elements = [];
    for (let position = first; position < last; position++) elements.push(row(position));
    rows.replaceChildren(...elements);
    const position = shown.indexOf(selected);
    if (position >= first && position < last) list.setAttribute("aria-activedescendant", `row-${selected}`);
    else list.removeAttribute("aria-activedescendant");
  };
  const measure = () => {
    height = parseFloat(getComputedStyle(list).getPropertyValue("--row"));
    // Browsers end somewhere beyond 16 million pixels.
    rows.style.height = `${Math.min(shown.length * height, 1.6e7)}px`;
  };
  const reveal = () => {
    const position = shown.indexOf(selected);
    if (position < 0) return;
    const top = position * height;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + height > list.scrollTop + list.clientHeight) list.scrollTop = top + height - list.clientHeight;
  };
  let due = false;
  list.addEventListener("scroll", () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; draw(); });
  }, { passive: true });
  list.addEventListener("click", (event) => {
    const element = event.target.closest(".row");
    if (element) open(Number(element.id.slice(4)), true);
  });
  addEventListener("resize", () => { measure(); draw(); });

  // ---- a trial ----

  const panel = $("trial");
  const section = (title, ...children) => h("section", {}, h("h4", {}, title), ...children);

  const hexdump = (hex, length, marks, label) => {
    const marked = new Set(marks);
    const out = h("pre", { class: "hex", tabindex: "0", role: "region", "aria-label": label });
    const bytes = hex.match(/../g) || [];
    const shownBytes = bytes.length;
    const width = innerWidth < 700 ? 8 : 16;
    for (let line = 0; line < shownBytes; line += width) {
      out.append(h("span", { class: "offset" }, line.toString(16).padStart(4, "0")), " ");
      for (let at = line; at < line + width; at++) {
        out.append(at % 8 === 0 ? "  " : " ");
        const byte = bytes[at] ?? "  ";
        out.append(marked.has(at) ? h("mark", {}, byte) : byte);
      }
      out.append("   ");
      for (let at = line; at < Math.min(line + width, shownBytes); at++) {
        const code = parseInt(bytes[at], 16);
        out.append(code > 32 && code < 127 ? String.fromCharCode(code) : "·");
      }
      out.append("\n");
    }
    if (!shownBytes) out.append("no bytes");
    if (length > shownBytes) out.append(`… and ${grouped(length - shownBytes)} bytes more`);
    return out;
  };
  const runs = (marks) => {
    // 3, 4, 5, 9 as "3 to 5, 9".
    const out = [];
    for (const mark of marks) {
      const last = out[out.length - 1];
      if (last && last[1] === mark - 1) last[1] = mark; else out.push([mark, mark]);
    }
    return out.map(([from, to]) => (from === to ? `${from}` : `${from} to ${to}`)).join(", ") || "none of these";
  };
  const frame = (at, times, isOpen, marks) => {
    const [layers, hex, length] = frames[at];
    return h("details", { class: "frame", open: isOpen },
      h("summary", {}, h("b", {}, `${grouped(times)} ×`), " ", layers, " ",
        h("span", { class: "muted" }, `${grouped(length)} bytes`)),
      hexdump(hex, length, marks || [], `Bytes of ${layers}`));
  };

  const sideBySide = (trial) => {
    const expected = numbers[trial[EXPECTED]];
    const observed = trial[OBSERVED] >= 0 ? numbers[trial[OBSERVED]] : null;
    const lines = [];
    const protocolsSeen = new Set([...Object.keys(expected[0]), ...Object.keys(observed ? observed[0] : {})]);
    for (const protocol of [...protocolsSeen].map(Number).sort((a, b) => a - b)) {
      const name = protocols[protocol];
      const [wanted, came] = [expected[0][protocol] || 0, observed ? observed[0][protocol] || 0 : null];
      if (wanted || came) lines.push([`${protocol}${name ? ` ${name}` : ""}`, wanted, came]);
    }
    const unobservable = observed ? observed[2] : 0;
    const [wantedAt, cameAt] = [expected, observed || [{}, []]].map((its) => new Map(its[1]));
    const sinks = new Set([...wantedAt.keys(), ...cameAt.keys()]);
    for (const sink of sinks) lines.push([sink, wantedAt.get(sink) || 0, observed ? cameAt.get(sink) || 0 : null, unobservable]);
    const differs = ([, wanted, came, open]) => came !== null && wanted !== came && !(open && wanted - came <= open && came <= wanted);
    const line = (its) => h("tr", { class: differs(its) && "differs" }, h("th", { scope: "row" }, its[0]),
      h("td", { class: "n" }, grouped(its[1])), h("td", { class: "n" }, its[2] === null ? "–" : grouped(its[2])),
      h("td", {}, differs(its) ? "← differs" : ""));
    const table = (lines) => h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "protocol"), h("th", { scope: "col", class: "n" }, "expected"),
        h("th", { scope: "col", class: "n" }, "observed"), h("td", {}))),
      h("tbody", {}, lines.map(line))));
    const first = lines.filter((its, at) => differs(its) || at >= lines.length - sinks.size || lines.length <= 14);
    const rest = lines.filter((its) => !first.includes(its));
    return section("Expected and observed", table(first),
      rest.length > 0 && h("details", {}, h("summary", {}, `${rest.length} protocols more, each as expected`), table(rest)),
      unobservable > 0 && h("p", { class: "muted" },
        `${grouped(unobservable)} frames are not observable: the stack discards them before any socket could see whether they passed.`));
  };

  const byCpu = (trial) => {
    const cpus = trial[OBSERVED] >= 0 ? numbers[trial[OBSERVED]][3] : [];
    const lines = cpus.map((counts, cpu) => [cpu, Object.entries(counts)]).filter(([, counts]) => counts.length);
    if (!lines.length) return null;
    const words = (counts) => counts.map(([protocol, packets]) => `${protocols[protocol] || protocol} ${grouped(packets)}`).join(", ");
    return h("details", {}, h("summary", {}, `Counted on ${lines.length} of ${cpus.length} CPUs`),
      h("ul", {}, lines.map(([cpu, counts]) => h("li", {}, `CPU ${cpu}: ${words(counts)}`))));
  };

  const failure = (its) => {
    const pairs = its.pairs.map(([sent, sentTimes, came, cameTimes, sentMarks, cameMarks]) =>
      h("div", { class: "pair" },
        h("div", {}, h("h5", {}, `sent, ${grouped(sentTimes)} ×`), h("p", {}, frames[sent][0]),
          hexdump(frames[sent][1], frames[sent][2], sentMarks, "Bytes that were sent"),
          h("p", { class: "muted" }, `differs in bytes ${runs(sentMarks)}`)),
        h("div", {}, h("h5", {}, `got, ${grouped(cameTimes)} ×`), h("p", {}, frames[came][0]),
          hexdump(frames[came][1], frames[came][2], cameMarks, "Bytes that arrived"),
          h("p", { class: "muted" }, `differs in bytes ${runs(cameMarks)}`))));
    return [
      its.mismatches.length > 0 && section("What differs",
        h("ul", {}, its.mismatches.slice(0, 40).map((text) => h("li", {}, text)),
          its.mismatches.length > 40 && h("li", {}, `and ${its.mismatches.length - 40} more`))),
      pairs.length > 0 && section("Frames that were modified in transit", pairs),
      [...new Set(its.deltas.map(([name]) => name))].map((name) => section(`Frames: ${name}`,
        its.deltas.filter(([its]) => its === name).map(([, at, times]) => frame(at, times, false)))),
    ];
  };

  const repeat = (command) => {
    const code = h("code", {}, command);
    const button = h("button", { type: "button", onclick: async () => {
      try {
        await navigator.clipboard.writeText(command);
        button.textContent = "Copied";
      } catch { getSelection().selectAllChildren(code); }
    } }, "Copy");
    return section("Reproduce", h("div", { class: "command" }, code, button));
  };

  const show = (at) => {
    const trial = trials[at], column = columns[trial[COLUMN]];
    const [id, summary, tags] = scenarios[trial[SCENARIO]];
    const its = trial[FAILURE] >= 0 ? failures[trial[FAILURE]] : null;
    const position = shown.indexOf(at);
    const [lines, lineCount] = messages[column.run] || [[], 0];
    const isBad = trial[VERDICT] < 2;
    panel.setAttribute("aria-label", `Trial ${id}`);
    panel.replaceChildren(...[
      h("div", { class: "tools" },
        h("button", { type: "button", disabled: position <= 0, onclick: () => move(-1) }, "Previous"),
        h("button", { type: "button", disabled: position < 0 || position + 1 >= shown.length, onclick: () => move(1) }, "Next"),
        position >= 0 && h("span", { class: "muted" }, `${grouped(position + 1)} of ${grouped(shown.length)}`),
        h("button", { type: "button", id: "close", onclick: () => close() }, "Close")),
      h("h3", {}, badge(trial[VERDICT]), " ", id),
      h("p", { class: "muted" }, where(column, false)),
      summary && h("p", {}, summary),
      tags.length > 0 && h("p", { class: "tags" }, tags.map((tag) => h("a", { class: "tag", href: `#list&tag=${encodeURIComponent(tag)}` }, tag))),
      trial[REASON] >= 0 && VERDICTS[trial[VERDICT]][0] !== "fail" && h("p", { class: "why" }, reasons[trial[REASON]]),
      its && failure(its)[0],
      sideBySide(trial),
      h("p", { class: "muted" }, `${grouped(trial[SENT])} frames sent in ${(trial[TIME] / 1000).toFixed(1)} ms`),
      byCpu(trial),
      its && failure(its).slice(1),
      its && its.frames.length > 0 && section("Frames that were sent", its.frames.map(([at, times], place) => frame(at, times, place === 0)),
        its.more > 0 && h("p", { class: "muted" }, `and ${grouped(its.more)} more distinct frames`)),
      its && its.repeat && repeat(its.repeat),
      its && its.pcap && h("p", { class: "muted" }, "Frames as a capture, beside the result file: ", h("code", {}, its.pcap)),
      isBad && lines.length > 0 && section("What the kernel printed during the run",
        h("pre", { tabindex: "0", role: "region", "aria-label": "Kernel messages" }, lines.join("\n")),
        lineCount > lines.length && h("p", { class: "muted" }, `the last ${lines.length} of ${lineCount} lines`)),
    ].flat(Infinity).filter(Boolean));
    panel.scrollTop = 0;
    panel.hidden = false;
  };

  const open = (at, isStep) => go({ trial: keyOf(trials[at]) }, isStep);
  const close = () => {
    go({ trial: "" }, true);
    list.focus({ preventScroll: true });
  };
  const move = (by) => {
    if (!shown.length) return;
    const position = shown.indexOf(selected);
    const next = position < 0 ? (by > 0 ? 0 : shown.length - 1) : position + by;
    if (next >= 0 && next < shown.length) open(shown[next], position < 0);
  };

  // ---- everything together ----

  const buttons = VERDICTS.map(([name, symbol]) => {
    const number = h("b", {});
    const button = h("button", { type: "button", class: `v-${name}`, onclick: () => {
      const on = new Set((state.verdict || "").split(",").filter(Boolean));
      if (!on.delete(name)) on.add(name);
      go({ verdict: [...on].join(",") }, true);
    } }, h("span", { class: "symbol", "aria-hidden": "true" }, symbol), number, ` ${name}`);
    $("verdicts").append(button);
    return { name, button, number };
  });

  const apply = (next) => {
    const before = selected;
    state = next;
    for (const facet of facets) facet.value = state[facet.name] || "";
    if (document.activeElement !== search) search.value = state.q || "";
    const counts = filter();
    const on = (state.verdict || "").split(",");
    buttons.forEach(({ name, button, number }, at) => {
      number.textContent = grouped(counts[at]);
      button.setAttribute("aria-pressed", String(on.includes(name)));
      button.disabled = counts[at] === 0 && !on.includes(name);
    });
    $("shown").textContent = shown.length === trials.length ? grouped(shown.length) : `${grouped(shown.length)} of ${grouped(trials.length)}`;
    $("clear").disabled = !NAMES.some((name) => state[name]);
    selected = state.trial ? find(state.trial) : -1;
    root.classList.toggle("has-trial", selected >= 0 || Boolean(state.trial));
    if (selected >= 0) show(selected);
    else if (state.trial) {
      panel.replaceChildren(h("p", {}, "This report has no such trial: ", h("code", {}, state.trial)),
        h("button", { type: "button", id: "close", onclick: () => close() }, "Close"));
      panel.hidden = false;
    } else panel.hidden = true;
    measure();
    if (before !== selected) reveal(); else list.scrollTop = 0;
    draw();
    if (!shown.length) rows.replaceChildren(h("p", { class: "none" }, "No trial matches."));
  };

  for (const facet of facets) facet.addEventListener("change", () => go({ [facet.name]: facet.value }, true));
  let typing = 0;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => go({ q: search.value.trim() }, false), 60);
  });
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  $("clear").addEventListener("click", () => {
    search.value = "";
    go(Object.fromEntries(NAMES.map((name) => [name, ""])), true);
  });

  // An address is all that there is to know: one that leads elsewhere shows all trials and none.
  const link = document.querySelector("nav a[href='#list']");
  const arrive = () => {
    const isOurs = location.hash.includes("=") || location.hash === "#list";
    apply(read());
    if (!isOurs) return openTarget();
    $("list").scrollIntoView();
    if (state.trial) panel.focus({ preventScroll: true });
  };
  addEventListener("hashchange", arrive);
  addEventListener("popstate", () => { if (address(read()) !== address(state)) arrive(); });

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target.matches("input, select, textarea");
    const inList = event.target === list;
    if (event.key === "Escape") {
      if (event.target === search && search.value) {
        search.value = "";
        go({ q: "" }, false);
      } else if (!panel.hidden) close();
      else if (isTyping) event.target.blur();
    } else if (isTyping) return;
    else if (event.key === "/") search.focus();
    else if (event.key === "j" || (inList && event.key === "ArrowDown")) move(1);
    else if (event.key === "k" || (inList && event.key === "ArrowUp")) move(-1);
    else if (inList && event.key === "Enter" && selected >= 0) panel.focus();
    else return;
    event.preventDefault();
  });

  arrive();
})();
