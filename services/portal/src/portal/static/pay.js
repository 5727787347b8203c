// The card form: asks the school's server for a payment intent, and has Stripe's script collect the card and confirm it.
(() => {
  "use strict";

  const form = document.getElementById("card-form");
  const button = document.getElementById("card-pay");
  const status = document.getElementById("card-status");
  const problem = document.getElementById("card-problem");
  const FAILED = "The payment could not be made. No money was taken: try again, or pay another way.";
  const NOT_LOADED = "The card form could not be loaded. No money was taken: try again, or pay another way.";
  const FOR_PAYERS = ["card_error", "validation_error", "api_connection_error"];
  const PAID = ["succeeded", "processing", "requires_capture"];

  function say(text) {
    status.textContent = text;
  }

  function refuse(text, href, linkText) {
    const paragraph = document.createElement("p");
    paragraph.textContent = text;
    problem.replaceChildren(paragraph);
    if (href) {
      const link = document.createElement("a");
      link.href = href;
      link.textContent = linkText;
      paragraph.append(" ", link);
    }
    problem.hidden = false;
    say("");
  }

  async function opened() {
    try {
      const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
      return await answer.json();
    } catch {
      return { detail: NOT_LOADED, href: location.href, text: "Load this page again" };
    }
  }

  function success(target, intent) {
    const url = new URL(target);
    url.searchParams.set("payment_intent", intent.id);
    say("Your payment was sent. The confirmation follows.");
    location.assign(url);
  }

  // Whether the payer can try again on this page.
  function failed(error, intent, target) {
    if (intent && PAID.includes(intent.status)) {
      success(target, intent); // paid in another window
      return false;
    }
    if (intent && intent.status === "canceled") {
      refuse("This payment has expired. No money was taken.", location.href, "Start again");
      return false;
    }
    const text = FOR_PAYERS.includes(error.type) && error.message ? error.message : FAILED;
    const declined = error.type === "card_error";
    refuse(declined ? `${text} No money was taken: try another card, or pay another way.` : text);
    return true;
  }

  async function pay(stripe, elements, target) {
    button.disabled = true;
    problem.hidden = true;
    say("Paying. Keep this page open.");
    const options = { elements, confirmParams: { return_url: target }, redirect: "if_required" };
    try {
      const { error, paymentIntent } = await stripe.confirmPayment(options);
      if (!error) return success(target, paymentIntent);
      button.disabled = !failed(error, error.payment_intent, target);
    } catch {
      refuse(FAILED);
      button.disabled = false;
    }
  }

  async function start() {
    if (typeof window.Stripe !== "function") return refuse(NOT_LOADED, location.href, "Load this page again");
    say("The card form is being loaded.");
    const answer = await opened();
    if (answer.location) return location.assign(answer.location);
    if (!answer.client_secret) return refuse(answer.detail, answer.href, answer.text);
    const stripe = window.Stripe(answer.publishable_key);
    const elements = stripe.elements({ clientSecret: answer.client_secret });
    const element = elements.create("payment");
    element.on("ready", () => say(""));
    element.on("loaderror", () => {
      form.hidden = true;
      refuse(NOT_LOADED, location.href, "Load this page again");
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!button.disabled) pay(stripe, elements, answer.return_url);
    });
    form.hidden = false;
    element.mount("#card-element");
  }

  start().catch(() => refuse(NOT_LOADED, location.href, "Load this page again"));
})();
