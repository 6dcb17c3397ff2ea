// What the examples use without declaring it: a signed-in user, a picture, and a page that does nothing.
import { createClient } from "@supabase/supabase-js";
import { createDarkroom } from "./darkroom";
import type { ProcessResult } from "./darkroom/types";
import type { Database } from "./database";

const scene = JSON.parse(process.env.SCENE ?? "{}");
const block = JSON.parse(process.env.BLOCK ?? "{}");

export const session: { access_token: string; user: { id: string } } = { access_token: scene.token, user: { id: scene.user_id } };
const auth = { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false };
export const supabase = createClient<Database>(scene.supabase_url, scene.publishable_key, { auth });
await supabase.auth.signInWithPassword({ email: scene.email, password: scene.password });
export const darkroom = createDarkroom({
  apiUrl: scene.api_url,
  getAccessToken: async () => (await supabase.auth.getSession()).data.session?.access_token,
});

/** What the page was asked to show. */
export const calls: unknown[] = [];
const shown = (...words: unknown[]): void => void calls.push(words);
export const toast: (words: string) => void = shown;
export const openShop: () => void = shown;
export const offerRetry: (seconds: number | null) => void = shown;
export const report: (...words: unknown[]) => void = shown;
export const render: (...words: unknown[]) => void = shown;
export const onProgress: (...words: any[]) => void = shown;

const bytes = Uint8Array.from(atob(scene.picture), (letter) => letter.charCodeAt(0));
export const file = new File([bytes, crypto.randomUUID()], "mug.jpg", { type: "image/jpeg" });
export const img = { src: "" } as HTMLImageElement;
export const opKey: string = block.opKey ?? "resize-v1:width-160";
export const op_key: string = "enhance-v1";
export const sha256: string = scene.sha256;
export const width: number = 450;
export const height: number = 350;

export const words = "mug";
export const id: string = scene.collection_id;
export const collection_id: string = scene.collection_id;
export const last: { created_at: string; id: string } | null = { created_at: scene.last_created_at, id: scene.last_id };
export const imageIds: string[] = [scene.given_id];
export const teamId: string = scene.team_id;
export const { images } = await darkroom.images({ collection_id });

interface Element {
  custom?: { darkroom?: { job_id: string; op_key: string } };
  set(values: object): void;
}
const elements: Element[] = [];
/** The part of Polotno's store that the example uses. */
export const store = {
  activePage: {
    addElement(values: object): Element {
      const element: Element = { ...values, set(more) { Object.assign(element, more); } };
      elements.push(element);
      return element;
    },
  },
  find: (visit: (element: Element) => unknown) => elements.forEach(visit),
};
export const result: ProcessResult = await darkroom.process(file, "resize-v1:width-90");
