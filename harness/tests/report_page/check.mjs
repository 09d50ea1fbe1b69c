// Looks at a page of the report in a browser: node check.mjs CHECK PAGE. Fails by its exit code, and says why.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [check, file] = process.argv.slice(2);
const url = pathToFileURL(file).href;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  executablePath: process.env.BROWSER,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const faults = [];

// A page in which whatever is wrong is noted: a message of a warning or worse, an exception, a request.
const open = async (options = {}, hash = "") => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && faults.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => faults.push(`exception: ${error.message}`));
  page.on("request", (request) => {
    const its = request.url().split("#")[0];
    if (its !== url && !its.startsWith("data:")) faults.push(`request: ${its}`);
  });
  await page.goto(url + hash);
  return page;
};
const shown = (page) => page.locator("#shown").innerText();
const number = (text) => Number(text.replace(/[^\d].*/u, (rest) => rest.replace(/^[\u202f ]+/u, "")).replace(/[^\d]/gu, ""));
const first = async (page) => number((await shown(page)).split(" of ")[0]);
const total = (page) => page.evaluate(() => JSON.parse(document.getElementById("data").textContent).trials.length);
// What a script of the page would count, by what it was given.
const count = (page, fits) => page.evaluate((source) => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const fits = new Function("trial", "column", "scenario", `return ${source}`);
  return data.trials.filter((trial) => fits(trial, data.columns[trial[1]], data.scenarios[trial[0]])).length;
}, fits);

const checks = {
  async first() {
    const page = await open();
    const heading = page.locator("h1");
    assert.match(await heading.innerText(), /Failed/);
    assert.match(await page.locator(".sentence").innerText(), /\d+ of \d+ trials failed/);
    const box = await page.locator(".issues h3").first().boundingBox();
    assert.ok(box.y + box.height < 900, `the first issue is ${box.y} down`);
    const order = await page.locator(".issues h3").allInnerTexts();
    assert.ok(order[0].includes("Failed trials"), order.join());
    assert.ok(order.at(-1).includes("Notes"), order.join());
    for (const words of ["igb", "firmware 3.25", "6.18.44+deb14-amd64", "native", "xdproof_count", "ac51964683292ff9"]) {
      assert.ok((await page.locator(".tested").innerText()).includes(words), words);
    }
  },

  async two_clicks() {
    // From the top by an issue: one click. From the matrix: two.
    const page = await open();
    await page.locator(".issues .places a").first().click();
    await page.locator("#trial h3").waitFor();
    assert.match(await page.locator("#trial").innerText(), /Expected and observed/);
    await page.goto(url);
    await page.locator(".matrix a.v-fail").first().click();
    await page.locator(".row").first().click();
    const text = await page.locator("#trial").innerText();
    assert.match(text, /✗\s*fail/);
    for (const words of ["← differs", "Frames that were modified in transit", "Reproduce", "xdproof validate --scenario",
      "What the kernel printed", "Tx Unit Hang"]) assert.ok(text.includes(words), words);
    const pair = page.locator(".pair").first();
    assert.equal((await pair.locator("> div:first-child mark").allInnerTexts()).length, 4, "the tag that was taken out is marked");
  },

  async filters() {
    const page = await open();
    assert.equal(await first(page), await total(page));
    await page.locator("#verdicts .v-fail").click();
    const failed = await count(page, "trial[2] === 0");
    assert.ok(failed > 0);
    assert.equal(await first(page), failed);
    await page.locator("#verdicts .v-error").click();
    assert.equal(await first(page), failed + await count(page, "trial[2] === 1"));
    await page.locator("#clear").click();
    await page.locator("select[name=nic]").selectOption("igb");
    assert.equal(await first(page), await count(page, "column.nic === 'igb'"));
    await page.locator("select[name=mode]").selectOption("native");
    await page.locator("select[name=kernel]").selectOption("6.12.48+deb13-amd64");
    await page.locator("select[name=tag]").selectOption("qinq");
    const wanted = "column.nic === 'igb' && column.mode === 'native' && column.kernel.startsWith('6.12') && scenario[2].includes('qinq')";
    assert.ok(await count(page, wanted) > 0);
    assert.equal(await first(page), await count(page, wanted));
    await page.locator("#clear").click();
    await page.locator("#search").fill("QinQ igb native");
    await page.waitForFunction(() => location.hash.includes("q="));
    const found = await first(page);
    assert.ok(found > 0 && found < await total(page), String(found));
    for (const row of await page.locator(".row").allInnerTexts()) assert.match(row, /igb/);
    await page.locator("#search").fill("nothing is called like this");
    await page.locator(".none").waitFor();
    assert.equal(await first(page), 0);
  },

  async links() {
    const page = await open();
    const link = await page.locator(".issues .places a").first().getAttribute("href");
    const there = await open({}, link);
    const title = await there.locator("#trial h3").innerText();
    await page.locator(".issues .places a").first().click();
    assert.equal(await page.locator("#trial h3").innerText(), title);
    await page.goBack();
    await page.locator("#trial").waitFor({ state: "hidden" });
    await page.goForward();
    await page.locator("#trial h3").waitFor();
    await page.locator("#close").click();
    await page.locator("#trial").waitFor({ state: "hidden" });
    await page.locator("#verdicts .v-xfail").click();
    const deviating = await first(page);
    await page.locator("select[name=mode]").selectOption("native");
    assert.equal(await first(page), 0);
    await page.goBack();
    assert.equal(await first(page), deviating);
    assert.equal(await page.locator("select[name=mode]").inputValue(), "");
    const filtered = await open({}, "#list&verdict=skip&nic=e1000e");
    assert.equal(await first(filtered), await count(filtered, "trial[2] === 4 && column.nic === 'e1000e'"));
    // What is linked to within something closed is opened.
    const device = await open({}, "#environment-2");
    assert.ok(await device.locator("#environment-2").evaluate((details) => details.open));
    const none = await open({}, "#trial=no/such::trial");
    assert.match(await none.locator("#trial").innerText(), /no such trial/);
  },

  async keys() {
    const page = await open();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "skip-link");
    await page.keyboard.press("j");
    const one = await page.locator("#trial h3").innerText();
    await page.keyboard.press("j");
    const two = await page.locator("#trial h3").innerText();
    await page.keyboard.press("k");
    assert.equal(await page.locator("#trial h3").innerText(), one);
    assert.notEqual(page.url(), url);
    await page.locator("#trials").focus();
    await page.keyboard.press("ArrowDown");
    assert.equal(await page.locator("#trial h3").innerText(), two);
    assert.equal(await page.locator(".row[aria-selected=true]").count(), 1);
    await page.keyboard.press("Escape");
    assert.ok(await page.locator("#trial").isHidden());
    await page.keyboard.press("/");
    assert.equal(await page.evaluate(() => document.activeElement.id), "search");
    await page.keyboard.type("jk/");
    assert.equal(await page.locator("#search").inputValue(), "jk/");
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("#search").inputValue(), "");
    const outline = await page.locator("#search").evaluate((its) => getComputedStyle(its).outlineStyle);
    assert.notEqual(outline, "none", "focus is seen");
    // The switch wins over what the system prefers, and back.
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const light = await ground();
    await page.locator("#theme").click();
    assert.notEqual(await ground(), light);
    await page.locator("#theme").click();
    assert.equal(await ground(), light);
  },

  async accessible() {
    for (const colorScheme of ["light", "dark"]) {
      for (const [width, hash] of [[1280, ""], [1280, "#list&verdict=fail&nic=igb"], [390, ""]]) {
        const page = await open({ colorScheme, viewport: { width, height: 900 } }, hash);
        if (hash) {
          await page.locator(".row").first().click();
          await page.locator("#trial mark").first().waitFor();
        } else await page.evaluate(() => { for (const its of document.querySelectorAll("details")) its.open = true; });
        await page.evaluate(axe);
        const result = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
        const bad = result.violations.filter((its) => ["serious", "critical"].includes(its.impact));
        for (const its of bad) {
          const nodes = its.nodes.slice(0, 4).map((node) => `${node.html.slice(0, 160)} ${node.failureSummary}`);
          faults.push(`${colorScheme}, ${width}: ${its.id}, ${its.nodes.length} times: ${its.help}\n  ${nodes.join("\n  ")}`);
        }
        assert.ok(result.violations.length < 50);
      }
    }
  },

  async widths() {
    for (const width of [390, 768, 1280, 2560, 3840]) {
      const page = await open({ viewport: { width, height: 900 } });
      await page.evaluate(() => { for (const its of document.querySelectorAll("details")) its.open = true; });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `${wide} pixels of ${width}`);
      await page.keyboard.press("j");
      await page.locator("#trial h3").waitFor();
      const box = await page.locator("#trial").boundingBox();
      assert.ok(box.x >= 0 && box.x + box.width <= width, JSON.stringify(box));
      await page.locator("#close").click();
      assert.ok(await page.locator("#trial").isHidden());
    }
    const page = await open();
    await page.emulateMedia({ media: "print" });
    assert.ok(await page.locator(".matrix").isVisible() && !(await page.locator("#trials").isVisible()));
    assert.ok((await page.pdf({ format: "A4" })).length > 10_000);
  },

  async no_script() {
    const page = await open({ javaScriptEnabled: false });
    const text = await page.locator("body").innerText();
    for (const words of ["Failed", "trials failed", "Failed trials", "xdproof validate --scenario", "Matrix", "igb", "soft lockup",
      "Detection power"]) {
      assert.ok(text.includes(words) || (await page.content()).includes(words), words);
    }
    assert.ok(await page.locator(".matrix a.v-fail").first().isVisible());
    assert.ok(!(await page.locator(".filters").isVisible()), "what needs the script is not offered");
  },

  async hostile() {
    const page = await open();
    await page.evaluate(() => { for (const its of document.querySelectorAll("details")) its.open = true; });
    await page.keyboard.press("j");
    await page.locator("#trial h3").waitFor();
    for (const its of await page.locator("#trial details").all()) await its.evaluate((details) => { details.open = true; });
    assert.equal(await page.evaluate(() => window.broken), undefined);
    assert.equal(await page.locator("img").count(), 0);
    assert.equal(await page.locator("script").count(), 2);
    const text = await page.evaluate(() => document.body.innerText);
    assert.ok(text.includes("<img src=x onerror=window.broken=1>"), "it is shown as it is");
    assert.ok(text.includes("\\u{202e}") && !/[\u202e\u0000\u001b]/.test(text), "what steers the display is written out");
    assert.ok(!(await page.content()).includes("NaN NaN"), "nothing is drawn at no place");
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 1280, `${wide} pixels`);
  },

  // Of our counter, one that opens only one tag, and a bench, on a veth of this machine.
  async real() {
    const page = await open();
    assert.match(await page.locator(".sentence").innerText(), /trials failed/);
    const programs = await page.locator(".tested").innerText();
    assert.ok(programs.includes("xdproof_count (built in)") && programs.includes("one_tag ("), programs);
    const good = page.locator(".matrix tbody", { hasText: "xdproof_count" });
    assert.equal(await good.locator("a.v-fail, a.v-error").count(), 0, "ours counts as it has to");
    const bad = page.locator(".matrix tbody", { hasText: "one_tag" }).locator("a.v-fail");
    assert.ok(await bad.count() > 0, "theirs does not");
    await bad.first().click();
    await page.locator(".row").first().click();
    const text = await page.locator("#trial").innerText();
    for (const words of ["0 other", "← differs", "802.1", "--program one_tag", "Frames as a capture"]) assert.ok(text.includes(words), words);
    assert.ok(await page.locator(".support, #support").innerText().then((its) => its.includes("veth")));
    assert.ok(await page.locator(".rates tbody th").count() > 0, "the measurements are there");
    assert.ok(await page.locator(".forest circle").count() > 0, "and drawn");
    assert.match(await page.locator(".verdict .worth").innerText(), /detect .*\d+ of \d+ planted faults/);
  },

  // A page of less than everything: it opens, its sections are there, its switch works, and nothing is amiss.
  async plain() {
    for (const width of [390, 1280]) {
      const page = await open({ viewport: { width, height: 900 } });
      for (const link of await page.locator("nav a").all()) {
        await link.click();
        assert.equal(await page.locator((await link.getAttribute("href")).split("&")[0]).count(), 1);
      }
      await page.locator("#theme").click();
      assert.equal(await page.locator("h1").count(), 1);
      await page.evaluate(() => { for (const its of document.querySelectorAll("details")) its.open = true; });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `${wide} pixels of ${width}`);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
      assert.deepEqual(violations.filter((its) => ["serious", "critical"].includes(its.impact)).map((its) => its.id), []);
    }
  },

  // Times are said, and held to what only a page that draws everything at once would miss.
  async fast() {
    const page = await open();
    const trials = await total(page);
    const loaded = await page.evaluate(() => performance.getEntriesByType("navigation")[0].loadEventEnd);
    const drawn = await page.locator(".row").count();
    assert.ok(drawn > 0 && drawn < 200, `${drawn} rows are drawn`);
    const times = await page.evaluate(async () => {
      const times = [];
      const button = document.querySelector("#verdicts button");
      for (let turn = 0; turn < 6; turn++) {
        const since = performance.now();
        button.click();
        document.getElementById("trials").getBoundingClientRect();
        times.push(performance.now() - since);
      }
      return times.sort((a, b) => a - b);
    });
    const list = page.locator("#trials");
    await list.evaluate((its) => { its.scrollTop = its.scrollHeight; });
    await page.waitForFunction((trials) => document.querySelector(".row:last-child")?.getAttribute("aria-posinset") === String(trials), trials);
    await page.locator("#search").fill("mlx5_core vlan");
    await page.waitForFunction(() => location.hash.includes("q="));
    assert.equal(await first(page), await count(page, "column.nic === 'mlx5_core' && (scenario[0] + scenario[1] + scenario[2]).toLowerCase().includes('vlan')"));
    console.log(`${trials} trials: loaded after ${loaded.toFixed(0)} ms, filtered in ${times[3].toFixed(1)} ms`);
    const patience = Number(process.env.PATIENCE || 5);
    const bound = 2000 * Math.max(1, trials / 10_000) * patience;
    assert.ok(loaded < bound, `loaded after ${loaded} ms`);
    assert.ok(times[3] < 100 * Math.max(1, trials / 10_000) * patience, `filtered in ${times[3]} ms`);
  },
};

try {
  await checks[check]();
  assert.deepEqual(faults, []);
} catch (error) {
  console.error(faults.join("\n"));
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
}
