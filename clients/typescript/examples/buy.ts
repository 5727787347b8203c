// Buys a program, and waits for the enrollment: BURSAR_URL=… BURSAR_TOKEN=… node dist/examples/buy.js cpr
import { setTimeout } from "node:timers/promises";
import { createClient, type ErrorCode } from "../src/index.js";

const { BURSAR_URL = "http://127.0.0.1:8100", BURSAR_TOKEN = "" } = process.env;
const programSlug = process.argv[2] ?? "cpr";
const bursar = createClient({ baseUrl: BURSAR_URL, token: BURSAR_TOKEN });

function advice(code: ErrorCode<"create_checkout_session">): string {
  switch (code) {
    case "already_enrolled":
      return "You are enrolled already.";
    case "price_mismatch":
      return "The price has changed: look at it again.";
    default:
      return `Your enrollment could not be started (${code}).`;
  }
}

const programs = await bursar.GET("/api/programs");
const program = programs.data?.items.find((each) => each.slug === programSlug);
if (program === undefined) throw new Error(programs.error?.detail ?? `${programSlug} is not on sale`);

const body = { programSlug, price: program.price, paymentType: "full" as const };
const session = await bursar.POST("/api/create-checkout-session", { body });
if (session.error) throw new Error(advice(session.error.code));
console.log(session.data.url);

for (let status = "unpaid"; status !== "active"; await setTimeout(500)) {
  const enrollments = await bursar.GET("/api/enrollments", { params: { query: { program_slug: programSlug } } });
  if (enrollments.error) throw new Error(enrollments.error.detail);
  status = enrollments.data.items[0]?.status ?? status;
}
console.log("enrolled");
