// A frontend in TypeScript, as docs/frontend.md has it. It is only type-checked: the @ts-expect-error lines prove that
// the types are precise enough to refuse mistakes.
import { createDarkroom, DarkroomError, type Darkroom } from "../../../clients/js/darkroom.js";
import type { JobDocument, ProcessResult, Stage } from "../../../clients/js/darkroom/types.js";

declare const supabase: {
  auth: { getSession(): Promise<{ data: { session: { access_token: string } | null } }> };
};

export const darkroom: Darkroom = createDarkroom({
  apiUrl: "https://images.example.com",
  getAccessToken: async () => (await supabase.auth.getSession()).data.session?.access_token,
});

export async function cutOut(file: File, signal: AbortSignal): Promise<string> {
  const show = (stage: Stage): string => {
    switch (stage.stage) {
      case "precheck":
        return `${stage.meta.width} × ${stage.meta.height}`;
      case "hash":
        return stage.progress.toFixed(2);
      case "intake":
        return stage.answer?.cached ? stage.answer.output.sha256 : "asking";
      case "upload":
        return stage.method;
      case "queued":
        return `${stage.ahead} ahead, ${stage.waiting_for}, ${stage.expected_start_at}`;
      case "running":
        return stage.job.status;
      case "done":
        return stage.result.op_key;
    }
  };
  try {
    const result: ProcessResult = await darkroom.process(file, "bgremove-v1", {
      onStage: show,
      wantsPersist: true,
      signal,
    });
    return result.output_urls[0];
  } catch (error) {
    if (error instanceof DarkroomError && error.retryable) return error.problem.request_id ?? error.code;
    throw error;
  }
}

export async function wire(file: File): Promise<JobDocument> {
  const meta = await darkroom.precheck(file);
  const answer = await darkroom.intake({
    ...meta,
    sha256: await darkroom.hash(file),
    filename: file.name,
    op_key: "enhance-v1",
  });
  if (answer.cached) throw new Error(answer.output_urls[0]);
  await darkroom.upload(answer, file, {
    onProgress: (fraction, method) => console.log(fraction.toFixed(1), method.toUpperCase()),
  });
  return darkroom.watch(answer.job_id, { onEvent: (job, event) => console.log(job.progress, event.via) });
}

export async function firstNames(collection_id: string): Promise<string[]> {
  const { images, next_cursor: cursor } = await darkroom.images({ collection_id, op: "bgremove", limit: 10 });
  const more = cursor === null ? [] : (await darkroom.images({ collection_id, cursor })).images;
  return [...images, ...more].map((image) => `${image.filename} ${image.current?.version ?? "none"}`);
}

export async function compare(imageId: string): Promise<string | undefined> {
  for (const { answer, error } of await darkroom.rerun(imageId, ["bgremove-v1", "compose-v1"])) {
    if (answer && !answer.cached) await darkroom.watch(answer.job_id);
    if (error) throw new Error(error.detail);
  }
  const { outputs } = await darkroom.image(imageId);
  await darkroom.restore(outputs[0].output_id);
  const { url } = await darkroom.share(outputs[0].output_id, { expires_in: 86_400, max_views: 10 });
  return url;
}

export async function afford(file: File, op_key: string): Promise<ProcessResult | null> {
  const { price, quote_id, cached } = await darkroom.quote({ op_key });
  const { balance, expiring } = await darkroom.balance();
  if (price > balance && !cached) throw new Error(`${price} > ${balance}, ${expiring[0]?.expires_at}`);
  const team = (await darkroom.teams()).find(({ role, read_only }) => role !== "viewer" && !read_only);
  return darkroom.process(file, op_key, { quoteId: quote_id, teamId: team?.team_id });
}

// @ts-expect-error no such role
void darkroom.invite("id", { email: "ada@example.com", role: "owner" });
// @ts-expect-error no such scope
void darkroom.createApiKey({ name: "Shop", scopes: ["admin"] });
// @ts-expect-error either a plan or a pack
void darkroom.checkOut({});
// @ts-expect-error neither an output nor a job
void darkroom.promote({ collection_id: "id" });
// @ts-expect-error a move says where to
void darkroom.changeImages({ action: "move", image_ids: [] });

declare const request: Parameters<Darkroom["intake"]>[0];
const { size, ...sizeless } = request;
// @ts-expect-error an intake without the size
void darkroom.intake(sizeless);
// @ts-expect-error a hit has no upload_url
void darkroom.intake(request).then((answer) => answer.cached && answer.upload_url);
// @ts-expect-error no such status
void darkroom.job("id").then((job) => job.status === "finished");
// @ts-expect-error an option that does not exist
void darkroom.process(new Blob(), "enhance-v1", { persist: true });
