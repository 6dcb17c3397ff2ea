// What the cases of the contract share.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createClient } from '@supabase/supabase-js'

export const env = JSON.parse(process.env.CONTRACT)
export const storageUrl = `${env.supabase_url}/storage/v1`
export { assert }
export { run, test } from '../../node/cases.mjs'

const options = { auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false } }

export const service = createClient(env.supabase_url, env.secret_key, options)
export const anon = createClient(env.supabase_url, env.publishable_key, options)

/** A client with a fresh user's session, and that user's id. */
export async function signUp() {
  const client = createClient(env.supabase_url, env.publishable_key, options)
  const email = `${randomBytes(8).toString('hex')}@example.com`
  const password = randomBytes(12).toString('hex')
  const { data, error } = await client.auth.signUp({ email, password })
  assert.equal(error, null)
  return { client, id: data.user.id, email, password, token: data.session.access_token }
}

/** A fresh bucket's name. Names start with `contract-`: the policies of the test speak of those. */
export async function makeBucket(settings = { public: false }) {
  const name = `contract-${randomBytes(6).toString('hex')}`
  ok(await service.storage.createBucket(name, settings))
  return name
}

/** The data of an answer without error. */
export function ok({ data, error }) {
  assert.equal(error, null, error?.message)
  return data
}

/** The error of an answer, whose body had this statusCode (and code). */
export function refused({ data, error }, statusCode, code) {
  assert.ok(error, `expected ${statusCode}, got ${JSON.stringify(data)}`)
  assert.equal(String(error.statusCode), String(statusCode), error.message)
  if (code) assert.equal(error.code, code, error.message)
  return error
}

const called = new Set()

/** Count the calls of every method of these objects' classes, to know afterwards which had none. */
export function watch(label, object) {
  for (const [name, prototype] of methods(object)) {
    const original = prototype[name]
    prototype[name] = function (...args) {
      called.add(`${label}.${name}`)
      return original.apply(this, args)
    }
  }
}

export function uncalled(label, object) {
  return methods(object)
    .map(([name]) => `${label}.${name}`)
    .filter((name) => !called.has(name))
}

function methods(object) {
  const found = []
  for (let p = Object.getPrototypeOf(object); p && p !== Object.prototype; p = Object.getPrototypeOf(p)) {
    for (const name of Object.getOwnPropertyNames(p)) {
      const { value } = Object.getOwnPropertyDescriptor(p, name)
      if (name !== 'constructor' && typeof value === 'function') found.push([name, p])
    }
  }
  return found
}
