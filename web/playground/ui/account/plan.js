/** The plan, its credits and its subscription; other plans and credits to buy, where billing is on. */
/** @import { Darkroom } from "../../darkroom.js" */
/** @import { Balance, Pack, PlanOffer, Subscription } from "../../darkroom/account-types.js" */
/** @import { LocalStack } from "../signing.js" */
/** @import { Me } from "../../darkroom/types.js" */
import { ask, explain } from "../dialogs.js";
import { byId, make } from "../dom.js";
import { planCommand } from "../signing.js";
import { credits, day, price, SOURCE } from "./words.js";

const BEFORE = "darkroom.before"; // what the account had when its user left to pay
const LOOKS = 30;
const LOOK_MS = 1500;

export class PlanCard {
  /** @param {Darkroom} darkroom @param {{onChange: () => void}} around */
  constructor(darkroom, around) {
    this.darkroom = darkroom;
    this.around = around;
    this.billing = false;
    /** @type {LocalStack|null} */
    this.local = null;
    /** @type {Me|null} */
    this.me = null;
    /** @type {Subscription|null} */
    this.subscription = null;
    const on = (/** @type {string} */ id, /** @type {() => Promise<unknown>} */ work) =>
      byId(id).addEventListener("click", () => this.#try("plan-problem", work));
    on("show-plans", () => this.showPlans());
    on("billing-portal", () => this.#leave(darkroom.billingPortal()));
    on("cancel-plan", () => this.#cancel());
    on("resume-plan", () => this.#act(() => darkroom.resumeSubscription()));
  }

  /** Somebody else is there. */
  clear() {
    this.me = this.subscription = null;
    byId("plan-title").textContent = "Plan";
    byId("plan-price").textContent = byId("balance").textContent = "";
    byId("expiring").replaceChildren();
    for (const id of ["plan-note", "billing-portal", "cancel-plan", "resume-plan"]) byId(id).hidden = true;
  }

  load() {
    return this.#try("plan-problem", async () => {
      const [me, balance, plans, subscription] = await Promise.all([
        this.darkroom.me(),
        this.darkroom.balance(),
        this.darkroom.plans(),
        this.darkroom.subscription(),
      ]);
      this.me = me;
      this.subscription = subscription?.ended_at ? null : subscription;
      this.#drawPlan(plans.find(({ id }) => id === me.plan.id) ?? null);
      this.#drawBalance(balance);
      if (byId("plans").open) this.#drawPlans(plans, await this.#packs());
    });
  }

  /** @param {string} where the element that tells what went wrong @param {() => Promise<unknown>} work */
  async #try(where, work) {
    byId(where).textContent = "";
    try {
      await work();
    } catch (error) {
      byId(where).textContent = explain(error);
    }
  }

  /** @param {() => Promise<unknown>} work that changes the plan */
  async #act(work) {
    await work();
    await this.load();
    this.around.onChange();
  }

  /** @param {PlanOffer|null} offer */
  #drawPlan(offer) {
    const { me, subscription } = this;
    if (!me) return;
    byId("plan-title").textContent = `${me.plan.name} plan`;
    byId("plan-price").textContent = offer?.price_cents ? `${price(offer.price_cents, offer.currency)} a month` : "";
    const ends = subscription && day(subscription.current_period_end);
    let note = "";
    if (subscription?.grace_until)
      note = `A payment has failed. The plan goes on until ${day(subscription.grace_until)}: look after your card until then.`;
    else if (subscription?.cancel_at_period_end)
      note = `It ends on ${ends}. Then you have the free plan; nothing is deleted.`;
    else if (subscription?.entitled) byId("plan-price").append(`, renews on ${ends}`);
    byId("plan-note").hidden = !note;
    byId("plan-note").textContent = note;
    byId("show-plans").textContent = this.billing ? "Change the plan…" : "Compare plans…";
    byId("billing-portal").hidden = !this.billing || !subscription;
    byId("cancel-plan").hidden = !this.billing || !subscription?.entitled || subscription.cancel_at_period_end;
    byId("resume-plan").hidden = !this.billing || !subscription?.cancel_at_period_end;
  }

  /** @param {Balance} balance */
  #drawBalance({ balance, held, debt, expiring, by_source }) {
    byId("balance").textContent = balance.toLocaleString();
    const ending = expiring.reduce((sum, { amount }) => sum + amount, 0);
    const from = Object.entries(by_source).map(([source, amount]) => `${amount.toLocaleString()} ${SOURCE[source] ?? source}`);
    const lines = [
      ...expiring.map(({ amount, expires_at }) => `${credits(amount)} until ${day(expires_at)}`),
      ...(balance > ending ? [`${credits(balance - ending)} without an end`] : []),
      ...(from.length > 1 ? [from.join(", ")] : []),
      ...(held ? [`${credits(held)} held for running jobs`] : []),
      ...(debt ? [`${credits(debt)} owed: the next ones you get pay it`] : []),
    ];
    byId("expiring").replaceChildren(...lines.map((line) => make("li", {}, line)));
  }

  // ---------------------------------------------------------------------------------------- plans

  /** What is had now, to see whether a payment has arrived. */
  get #state() {
    return `${this.me?.plan.id} ${byId("balance").textContent}`;
  }

  /** Goes to a page of Stripe's. @param {Promise<string>} asked for its address */
  async #leave(asked) {
    const url = await asked;
    sessionStorage.setItem(BEFORE, this.#state);
    location.assign(url);
  }

  /** The payment is told by an event that may come later than its payer: looks until it has. */
  async awaitPayment() {
    const before = sessionStorage.getItem(BEFORE);
    sessionStorage.removeItem(BEFORE);
    for (let looks = 0; before && looks < LOOKS; looks++) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      await this.load();
      if (this.#state !== before) return this.around.onChange();
    }
  }

  #packs() {
    return this.billing ? this.darkroom.packs() : Promise.resolve([]);
  }

  /** @returns {Promise<void>} */
  async showPlans() {
    byId("plans-problem").textContent = "";
    const [plans, packs, me] = await Promise.all([this.darkroom.plans(), this.#packs(), this.darkroom.me()]);
    this.me = me;
    this.#drawPlans(plans, packs);
    byId("plans").showModal();
  }

  /** @param {PlanOffer[]} plans @param {Pack[]} packs */
  #drawPlans(plans, packs) {
    byId("plans-hint").textContent = this.billing
      ? "Paid by the month, ended whenever you like. What you keep stays."
      : this.local
        ? "This Darkroom runs on your machine, and sells nothing. A command changes the plan:"
        : "This Darkroom sells nothing online: whoever runs it changes plans.";
    if (!this.billing && this.local)
      byId("plans-hint").append(" ", make("code", {}, planCommand(this.local, byId("who").textContent)));
    byId("offers").replaceChildren(...plans.map((plan) => this.#offer(plan)));
    byId("packs-section").hidden = packs.length === 0;
    byId("packs").replaceChildren(
      ...packs.map(({ pack_id, name, price_cents, currency }) =>
        make(
          "li",
          {},
          make("span", {}, name),
          make("strong", {}, price(price_cents, currency)),
          this.#button("Buy", `Buy ${name}`, () => this.#leave(this.darkroom.checkOut({ pack_id }))),
        ),
      ),
    );
  }

  /** @param {string} text @param {string} label @param {() => Promise<unknown>} work */
  #button(text, label, work) {
    return make(
      "button",
      {
        type: "button",
        className: "primary small",
        "aria-label": label,
        onclick: () => this.#try("plans-problem", work),
      },
      text,
    );
  }

  /** @param {PlanOffer} plan */
  #offer(plan) {
    const own = this.me?.plan.id === plan.id;
    const rank = own ? "Your plan" : "";
    return make(
      "li",
      { "data-plan": plan.id, "data-own": own ? "" : undefined },
      make("h3", {}, plan.name),
      make(
        "p",
        { className: "offer-price" },
        make("strong", {}, price(plan.price_cents, plan.currency)),
        plan.price_cents ? " a month" : "",
      ),
      make("p", { className: "hint" }, plan.description),
      make("ul", {}, ...plan.features.map((feature) => make("li", {}, feature))),
      rank ? make("p", { className: "badge" }, rank) : this.#choice(plan),
    );
  }

  /** How to get a plan. @param {PlanOffer} plan */
  #choice(plan) {
    if (!this.billing || !plan.on_sale) return "";
    const { id, name } = plan;
    if (!this.subscription)
      return this.#button("Choose", `Choose ${name}`, () =>
        this.#leave(this.darkroom.checkOut({ plan_id: id })),
      );
    return this.#button("Switch", `Switch to ${name}`, async () => {
      const text = "It begins at once. The time that is left is billed or credited, and credits go with it.";
      if (!(await ask(`Switch to ${name}?`, text, "Switch"))) return;
      await this.#act(() => this.darkroom.changePlan(id));
      byId("plans").close();
    });
  }

  async #cancel() {
    const ends = this.subscription ? day(this.subscription.current_period_end) : "";
    const text = `You keep it until ${ends}. Nothing is deleted then; a library that is too large takes nothing new.`;
    if (await ask("End the subscription?", text, "End it")) await this.#act(() => this.darkroom.cancelSubscription());
  }
}
