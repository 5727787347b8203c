// The sandbox's stand-in for Stripe.js v3: the part of its interface that pays an intent with a card.
// Interface: github.com/stripe/stripe-js. It calls the sandbox's API as Stripe.js calls Stripe's: with the publishable
// key and the client secret. It is for test cards; a real card's number would be sent to the page's own machine.
(() => {
  "use strict";

  const api = new URL("../", document.currentScript.src);
  const SECRET = /^(pi_[A-Za-z0-9]+)_secret_[A-Za-z0-9]+$/;
  const FIELDS = [
    { name: "number", label: "Card number", autocomplete: "cc-number", pattern: /^[0-9 -]{15,23}$/, code: "incomplete_number", problem: "Your card number is incomplete." },
    { name: "expiry", label: "Expiration date (MM / YY)", autocomplete: "cc-exp", pattern: /^(0?[1-9]|1[0-2]) ?\/? ?([0-9]{2})$/, code: "incomplete_expiry", problem: "Your card's expiration date is incomplete." },
    { name: "cvc", label: "Security code", autocomplete: "cc-csc", pattern: /^[0-9]{3,4}$/, code: "incomplete_cvc", problem: "Your card's security code is incomplete." },
  ];
  const CARDS = "4242 4242 4242 4242 is accepted, 4000 0000 0000 0002 is declined, 4000 0000 0000 9995 has insufficient funds, "
    + "4000 0027 6000 3184 requires 3-D Secure.";

  async function call(method, path, values) {
    const fields = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== undefined));
    const url = new URL(path, api);
    try {
      const answer = method === "GET"
        ? await fetch(`${url}?${fields}`, { referrerPolicy: "no-referrer" })
        : await fetch(url, { method, body: fields, referrerPolicy: "no-referrer" });
      return await answer.json();
    } catch {
      return { error: { type: "api_connection_error", message: "We are experiencing issues connecting to our payments provider." } };
    }
  }

  function intentOf(clientSecret) {
    const found = SECRET.exec(clientSecret);
    if (!found) throw new Error("Invalid value for elements(): clientSecret should be a client secret of the form ${id}_secret_${secret}.");
    return found[1];
  }

  function made(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  class PaymentElement {
    constructor(key, clientSecret) {
      this.key = key;
      this.clientSecret = clientSecret;
      this.handlers = {};
      this.inputs = {};
    }

    on(event, handler) {
      (this.handlers[event] ??= []).push(handler);
      return this;
    }

    mount(place) {
      const target = typeof place === "string" ? document.querySelector(place) : place;
      if (!target) throw new Error(`The selector you specified (${place}) applies to no DOM elements that are currently on the page.`);
      this.load(target);
    }

    async load(target) {
      const path = `v1/payment_intents/${intentOf(this.clientSecret)}`;
      const { error } = await call("GET", path, { key: this.key, client_secret: this.clientSecret });
      if (error) return this.tell("loaderror", { elementType: "payment", error });
      const rows = FIELDS.map((field) => {
        const id = `stripe-sandbox-${field.name}`;
        const input = made("input", { id, autocomplete: field.autocomplete, inputmode: "numeric", maxlength: "23" });
        input.addEventListener("input", () => input.removeAttribute("aria-invalid"));
        this.inputs[field.name] = input;
        return made("div", {}, made("label", { for: id }, field.label), input);
      });
      const legend = made("legend", {}, "Stripe sandbox: test cards only");
      target.replaceChildren(made("fieldset", { "data-stripe-sandbox": "" }, legend, made("p", { class: "small" }, CARDS), ...rows));
      this.tell("ready", { elementType: "payment" });
    }

    tell(event, value) {
      for (const handler of this.handlers[event] ?? []) handler(value);
    }

    // The error of the first field that is incomplete; otherwise undefined.
    check() {
      for (const field of FIELDS) {
        const input = this.inputs[field.name];
        if (!input) return { type: "invalid_request_error", message: "The payment Element is not ready." };
        if (field.pattern.test(input.value.trim())) continue;
        input.setAttribute("aria-invalid", "true");
        input.focus();
        return { type: "validation_error", code: field.code, message: field.problem };
      }
      return undefined;
    }

    card() {
      const [, month, year] = FIELDS[1].pattern.exec(this.inputs.expiry.value.trim());
      return {
        type: "card",
        "card[number]": this.inputs.number.value,
        "card[exp_month]": month,
        "card[exp_year]": `20${year}`,
        "card[cvc]": this.inputs.cvc.value.trim(),
      };
    }
  }

  class Elements {
    constructor(key, { clientSecret }) {
      intentOf(clientSecret);
      this.key = key;
      this.clientSecret = clientSecret;
      this.element = null;
    }

    create(type) {
      if (type !== "payment") throw new Error(`The sandbox has no Element of the type ${type}.`);
      if (this.element) throw new Error("Can only create one Element of type payment.");
      this.element = new PaymentElement(this.key, this.clientSecret);
      return this.element;
    }

    getElement(type) {
      return type === "payment" ? this.element : null;
    }

    async submit() {
      const error = this.element.check();
      return error ? { error } : {};
    }
  }

  function leave(url) {
    location.assign(url);
    return new Promise(() => {}); // as Stripe.js: the page is left
  }

  function returned(url, intent) {
    const target = new URL(url);
    target.searchParams.set("payment_intent", intent.id);
    target.searchParams.set("payment_intent_client_secret", intent.client_secret);
    target.searchParams.set("redirect_status", "succeeded");
    return target;
  }

  async function confirmPayment(key, { elements, clientSecret = elements.clientSecret, confirmParams = {}, redirect = "always" }) {
    const incomplete = elements.element.check();
    if (incomplete) return { error: incomplete };
    const method = await call("POST", "v1/payment_methods", { key, ...elements.element.card() });
    if (method.error) return { error: method.error };
    const path = `v1/payment_intents/${intentOf(clientSecret)}/confirm`;
    const confirmation = { key, client_secret: clientSecret, payment_method: method.id, return_url: confirmParams.return_url };
    const intent = await call("POST", path, confirmation);
    if (intent.error) return { error: intent.error };
    if (intent.next_action?.type === "redirect_to_url") return leave(intent.next_action.redirect_to_url.url);
    return redirect === "if_required" ? { paymentIntent: intent } : leave(returned(confirmParams.return_url, intent));
  }

  window.Stripe = (key) => {
    if (typeof key !== "string" || !key.startsWith("pk_")) {
      throw new Error("Please call Stripe() with your publishable key. You used an empty string or a key of another kind.");
    }
    return {
      elements: (options) => new Elements(key, options),
      confirmPayment: (options) => confirmPayment(key, options),
    };
  };
})();
