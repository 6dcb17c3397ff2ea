import { Readable } from 'node:stream'
import { Upload } from 'tus-js-client'
import { assert, env, makeBucket, ok, service, signUp, storageUrl, test } from './harness.mjs'

const endpoint = `${storageUrl}/upload/resumable`
const asService = { apikey: env.secret_key }
const bytes = (size) => Buffer.alloc(size, '0123456789abcdef')

/** Run an upload to its end; resolves to it, rejects with tus-js-client's error. */
function send(body, bucketName, objectName, { metadata, onProgress, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const upload = new Upload(body, {
      endpoint,
      headers: asService,
      retryDelays: null,
      chunkSize: 300_000,
      metadata: { bucketName, objectName, contentType: 'image/png', cacheControl: '60', ...metadata },
      onError: reject,
      onSuccess: () => resolve(upload),
      onProgress: (...args) => onProgress?.(upload, ...args),
      ...options,
    })
    upload.start()
  })
}

async function denied(promise, status, text) {
  const error = await promise.then(() => assert.fail('was not refused'), (error) => error)
  assert.equal(error.originalResponse?.getStatus(), status, error.message)
  if (text) assert.match(error.originalResponse.getBody(), text)
}

async function same(bucket, path, expected) {
  const blob = ok(await service.storage.from(bucket).download(path))
  assert.ok(Buffer.from(await blob.arrayBuffer()).equals(expected))
}

test('tus: an upload in chunks becomes an object', async () => {
  const bucket = await makeBucket()
  const body = bytes(1_000_001)
  await send(body, bucket, 'deep/a.png', { metadata: { metadata: JSON.stringify({ k: 1 }) } })
  await same(bucket, 'deep/a.png', body)
  const info = ok(await service.storage.from(bucket).info('deep/a.png'))
  assert.deepEqual([info.size, info.contentType, info.cacheControl], [1_000_001, 'image/png', 'max-age=60'])
  assert.deepEqual(info.metadata, { k: 1 })
})

test('tus: bytes during creation, and an empty file', async () => {
  const bucket = await makeBucket()
  await send(bytes(500_000), bucket, 'a.png', { uploadDataDuringCreation: true })
  await same(bucket, 'a.png', bytes(500_000))
  await send(Buffer.alloc(0), bucket, 'empty.png')
  await same(bucket, 'empty.png', Buffer.alloc(0))
})

test('tus: a length told at the end', async () => {
  const bucket = await makeBucket()
  const body = bytes(700_000)
  await send(Readable.from([body]), bucket, 'a.png', { uploadLengthDeferred: true })
  await same(bucket, 'a.png', body)
})

test('tus: an aborted upload is resumed where it stopped', async () => {
  const bucket = await makeBucket()
  const body = bytes(1_500_000)
  const url = await new Promise((resolve, reject) => {
    const upload = new Upload(body, {
      endpoint,
      headers: asService,
      chunkSize: 300_000,
      retryDelays: null,
      metadata: { bucketName: bucket, objectName: 'a.png', contentType: 'image/png' },
      onError: reject,
      onChunkComplete: async (_, sent) => {
        if (sent >= 600_000 && sent < 1_500_000) {
          await upload.abort()
          resolve(upload.url)
        }
      },
    })
    upload.start()
  })
  assert.equal((await service.storage.from(bucket).exists('a.png')).data, false)
  const head = await fetch(url, { method: 'HEAD', headers: { ...asService, 'Tus-Resumable': '1.0.0' } })
  const offset = Number(head.headers.get('upload-offset'))
  assert.ok(offset >= 600_000 && offset < 1_500_000)
  assert.equal(head.headers.get('upload-length'), '1500000')
  assert.equal(head.headers.get('cache-control'), 'no-store')
  let first
  await send(body, bucket, 'a.png', { uploadUrl: url, onProgress: (_, sent) => (first ??= sent) })
  assert.ok(first >= offset)
  await same(bucket, 'a.png', body)
})

test('tus: a terminated upload is gone', async () => {
  const bucket = await makeBucket()
  const headers = { ...asService, 'Tus-Resumable': '1.0.0' }
  const pair = (key, value) => `${key} ${Buffer.from(value).toString('base64')}`
  const created = await fetch(endpoint, {
    method: 'POST',
    headers: {
      ...headers,
      'Upload-Length': '10',
      'Upload-Metadata': [pair('bucketName', bucket), pair('objectName', 'a.png')].join(),
    },
  })
  assert.equal(created.status, 201)
  const url = created.headers.get('location')
  assert.ok(url.startsWith(`${endpoint}/`))
  await Upload.terminate(url, { headers: asService })
  assert.equal((await fetch(url, { method: 'HEAD', headers })).status, 404)
})

test('tus: a wrong offset is a conflict', async () => {
  const bucket = await makeBucket()
  const headers = { ...asService, 'Tus-Resumable': '1.0.0' }
  const pair = (key, value) => `${key} ${Buffer.from(value).toString('base64')}`
  const created = await fetch(endpoint, {
    method: 'POST',
    headers: {
      ...headers,
      'Upload-Length': '10',
      'Upload-Metadata': [pair('bucketName', bucket), pair('objectName', 'a.png')].join(),
    },
  })
  const patch = (offset, body, extra = {}) =>
    fetch(created.headers.get('location'), {
      method: 'PATCH',
      headers: {
        ...headers,
        'Upload-Offset': String(offset),
        'Content-Type': 'application/offset+octet-stream',
        ...extra,
      },
      body,
    })
  assert.equal((await patch(5, 'x')).status, 409)
  assert.equal((await patch(0, 'x', { 'Content-Type': 'text/plain' })).status, 415)
  assert.equal((await patch(0, 'x', { 'Tus-Resumable': '0.2.2' })).status, 412)
  assert.equal((await patch(0, 'x'.repeat(11))).status, 413)
  const half = await patch(0, 'x'.repeat(5))
  assert.deepEqual([half.status, half.headers.get('upload-offset')], [204, '5'])
  assert.equal((await patch(5, 'x'.repeat(5))).status, 204)
  await same(bucket, 'a.png', Buffer.from('x'.repeat(10)))
})

test('tus: a taken path is refused unless upsert', async () => {
  const bucket = await makeBucket()
  await send(bytes(10), bucket, 'a.png')
  await denied(send(bytes(20), bucket, 'a.png'), 409, /already exists/)
  await send(bytes(20), bucket, 'a.png', { headers: { ...asService, 'x-upsert': 'true' } })
  await same(bucket, 'a.png', bytes(20))
})

test('tus: limits of the bucket', async () => {
  const bucket = await makeBucket({ public: false, fileSizeLimit: 100, allowedMimeTypes: ['image/png'] })
  await denied(send(bytes(101), bucket, 'a.png'), 413, /Maximum size exceeded/)
  await denied(send(bytes(10), bucket, 'a.txt', { metadata: { contentType: 'text/plain' } }), 415)
  await denied(send(bytes(10), 'contract-missing', 'a.png'), 404)
})

test('tus: a user in their own folder, a stranger not', async () => {
  const bucket = await makeBucket()
  const [owner, stranger] = [await signUp(), await signUp()]
  const as = ({ token }) => ({ apikey: env.publishable_key, Authorization: `Bearer ${token}` })
  const path = `${owner.id}/a.png`
  await denied(send(bytes(10), bucket, path, { headers: as(stranger) }), 403, /row-level security/)
  await denied(send(bytes(10), bucket, path, { headers: { apikey: env.publishable_key } }), 403)
  await send(bytes(10), bucket, path, { headers: as(owner) })
  const [row] = ok(await service.storage.from(bucket).remove([path]))
  assert.equal(row.owner_id, owner.id)
})

test('tus: signed by x-signature', async () => {
  const bucket = await makeBucket()
  const files = service.storage.from(bucket)
  const { token } = ok(await files.createSignedUploadUrl('a.png'))
  const signed = { endpoint: `${endpoint}/sign`, headers: { 'x-signature': token } }
  const body = bytes(700_000)
  const upload = await send(body, bucket, 'a.png', signed)
  assert.ok(upload.url.startsWith(`${endpoint}/sign/`))
  await same(bucket, 'a.png', body)
  const { id, version } = ok(await files.info('a.png'))
  for (const other of [bytes(20), bytes(30)]) {
    await send(other, bucket, 'a.png', signed) // signed without upsert, and overwrites all the same
    await same(bucket, 'a.png', other)
  }
  const overwritten = ok(await files.info('a.png'))
  assert.equal(overwritten.id, id)
  assert.notEqual(overwritten.version, version)
  await denied(send(body, bucket, 'b.png', signed), 400, /signature/i)
  await denied(send(body, bucket, 'a.png', { ...signed, headers: {} }), 400, /x-signature/)
  await denied(send(body, bucket, 'a.png', { ...signed, headers: { 'x-signature': 'a.b.c' } }), 400)
})
