/**
 * A client of the csproxy wire protocol, version 1, in plain Node.js.
 *
 * Written from docs/protocol.md alone: it shares no code with the Python package. Numbers of 64 bits
 * (epoch, UEN) are BigInt; everything else is what msgpack says it is.
 *
 *     const client = await ConfigClient.connect({ host: "127.0.0.1", port: 2020 });
 *     await client.register({ application: "default", user: "default", password });
 *     const { objects, position } = await client.read(ObjectType.PERSON, { tenant_dbid: 1 });
 *     await client.subscribe({ objectType: ObjectType.PERSON, after: position });
 *     for await (const change of client.changes()) console.log(change);
 */

import net from "node:net";
import { decode, encode } from "@msgpack/msgpack";

const MAGIC = Buffer.from([0xc5, ...Buffer.from("csproxy")]);
const HEADER_BYTES = 28;
const AFTER_LENGTH = 24;
const MAX_FRAME = 64 * 1024 * 1024;
const END = 1;
const HISTORY = 2;
const MAX_QUEUED_CHANGES = 1000;
const NOWHERE = Object.freeze({ epoch: 0n, uen: 0n });

export const Message = Object.freeze({
  ERROR: 2,
  REGISTER_CLIENT: 3,
  DISCONNECTED: 4,
  READ_OBJECTS: 10,
  NOTIFICATION_REGISTERED: 13,
  OBJECT_DELETED: 16,
  CLIENT_REGISTERED: 19,
  OBJECTS_SENT: 20,
  PROTOCOL_VERSION: 49,
  PROTOCOL_VERSION_READ: 50,
  OBJECTS_READ: 73,
  OBJECT_CREATED: 74,
  OBJECT_UPDATED: 75,
  REGISTER_NOTIFICATION: 78,
  PROGRESS_MARK: 1001,
  PING: 1028,
  PONG: 1029,
});

/** Numbers of a few object types; the reference lists all of them. */
export const ObjectType = Object.freeze({ SWITCH: 1, DN: 2, PERSON: 3, PLACE: 4, TENANT: 7, APPLICATION: 9, FOLDER: 22 });

const ACTIONS = new Map([
  [Message.OBJECT_CREATED, "created"],
  [Message.OBJECT_UPDATED, "updated"],
  [Message.OBJECT_DELETED, "deleted"],
]);

/** Request -> the messages that may answer it, besides Error. */
const ANSWERS = new Map([
  [Message.PROTOCOL_VERSION, [Message.PROTOCOL_VERSION_READ]],
  [Message.REGISTER_CLIENT, [Message.CLIENT_REGISTERED]],
  [Message.READ_OBJECTS, [Message.OBJECTS_READ, Message.OBJECTS_SENT]],
  [Message.REGISTER_NOTIFICATION, [Message.NOTIFICATION_REGISTERED]],
  [Message.PING, [Message.PONG]],
]);

/** The server refused a request; `code` is one of the published error numbers. */
export class ServerError extends Error {
  constructor({ code, description = "", object_type = 0, property = "", retry_after_ms = 0 }) {
    super(`error ${code}: ${description}`);
    this.name = "ServerError";
    this.code = code;
    this.objectType = object_type;
    this.property = property;
    this.retryAfterMs = retry_after_ms;
  }
}

/** The connection ended; `code` is the server's reason if it gave one. */
export class ConnectionLostError extends Error {
  constructor(message, code = 22) {
    super(message);
    this.name = "ConnectionLostError";
    this.code = code;
  }
}

/** The server broke the rules of the protocol. */
export class ProtocolError extends Error {
  name = "ProtocolError";
}

/** Build one frame. `position` is the least position that the answer must reflect. */
export function encodeFrame(message, payload, { request = 0, position = NOWHERE, flags = 0 } = {}) {
  const body = payload === undefined ? Buffer.alloc(0) : encode(payload, { useBigInt64: true });
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(AFTER_LENGTH + body.length, 0);
  header.writeUInt16BE(message, 4);
  header.writeUInt8(flags, 6);
  header.writeUInt32BE(request, 8);
  header.writeBigUInt64BE(position.epoch, 12);
  header.writeBigUInt64BE(position.uen, 20);
  return Buffer.concat([header, body]);
}

/** Cuts received bytes into frames. Chunks are joined once per frame, however many arrive. */
export class FrameReader {
  #chunks = [];
  #held = 0;
  #needed = 4;

  /** Take the next bytes; return the frames that they complete. */
  receive(chunk) {
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    if (this.#held < this.#needed) return [];
    let data = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    const frames = [];
    this.#needed = 4;
    while (data.length >= 4) {
      const length = data.readUInt32BE(0);
      if (length < AFTER_LENGTH || length > MAX_FRAME) throw new ProtocolError(`frame length ${length}`);
      this.#needed = 4 + length;
      if (data.length < this.#needed) break;
      frames.push(readFrame(data.subarray(0, this.#needed)));
      data = data.subarray(this.#needed);
      this.#needed = 4;
    }
    this.#chunks = data.length > 0 ? [data] : [];
    this.#held = data.length;
    return frames;
  }
}

function readFrame(data) {
  const flags = data.readUInt8(6);
  const payload = data.subarray(HEADER_BYTES);
  return {
    message: data.readUInt16BE(4),
    end: (flags & END) !== 0,
    history: (flags & HISTORY) !== 0,
    request: data.readUInt32BE(8),
    position: { epoch: data.readBigUInt64BE(12), uen: data.readBigUInt64BE(20) },
    fields: payload.length > 0 ? decode(payload, { useBigInt64: true }) : {},
  };
}

/** One connection to a master or proxy. */
export class ConfigClient {
  #socket;
  #timeoutMs;
  #reader = new FrameReader();
  #open = new Map();
  #lastRequest = 0;
  #error = null;
  #changes = [];
  #waiting = [];

  /** What the server said of itself: {version, release, max_frame}. */
  server = null;
  /** The latest progress mark: everything that was subscribed to has been received up to here. */
  mark = NOWHERE;

  constructor(socket, timeoutMs) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    socket.setNoDelay(true);
    socket.on("data", (chunk) => this.#receive(chunk));
    socket.on("error", (error) => this.#end(new ConnectionLostError(error.message)));
    socket.on("close", () => this.#end(new ConnectionLostError("the server closed the connection")));
  }

  /** Connect and agree on protocol version 1. */
  static async connect({ host = "127.0.0.1", port = 2020, client = "node-client", timeoutMs = 10_000 } = {}) {
    const socket = net.connect({ host, port });
    const self = new ConfigClient(socket, timeoutMs);
    socket.write(MAGIC);
    try {
      const answer = await self.#request(Message.PROTOCOL_VERSION, { client, versions: [1] });
      if (answer.fields.version !== 1) throw new ProtocolError(`the server chose version ${answer.fields.version}`);
      self.server = answer.fields;
    } catch (error) {
      self.close();
      throw error;
    }
    return self;
  }

  /** Log in. `type` is the CfgAppType number of the Application object (19 = CFGSCE, `default`'s type). */
  async register({ application = "default", type = 19, user = "", password = "" }) {
    const { fields, position } = await this.#request(Message.REGISTER_CLIENT, { type, name: application, user, password });
    const epochs = (fields.epochs ?? []).map(([epoch, firstUen]) => [BigInt(epoch), BigInt(firstUen)]);
    return { ...fields, epochs, position };
  }

  /**
   * Read the objects of a type that fit a filter. `minimum` is the least position that the answer
   * must reflect. Gives {objects, position}: the answer is exact as of that position.
   */
  async read(type, filter = {}, { minimum = NOWHERE } = {}) {
    const objects = [];
    const collect = ({ fields }) => {
      for (const object of fields.objects ?? []) objects.push(object);
    };
    const last = await this.#request(Message.READ_OBJECTS, { type, filter }, { position: minimum, onPart: collect });
    return { objects, position: last.position };
  }

  /**
   * Subscribe; 0 means all in each field. With `after`, the position of a read, all changes since
   * then come first: nothing is missed between read and subscription.
   */
  async subscribe({ objectType = 0, tenantId = 0, objectDbid = 0, after = NOWHERE } = {}) {
    const fields = { object_type: objectType, tenant_id: tenantId, object_dbid: objectDbid };
    return (await this.#request(Message.REGISTER_NOTIFICATION, fields, { position: after })).position;
  }

  /** Ask whether the server is there; gives its position. */
  async ping() {
    return (await this.#request(Message.PING)).position;
  }

  /** The changes subscribed to, in order, until the connection ends (which throws). */
  async *changes() {
    for (;;) yield await this.#nextChange();
  }

  /** End the connection. */
  close() {
    this.#end(new ConnectionLostError("closed by this side"));
  }

  #request(message, fields, { position = NOWHERE, onPart = () => {} } = {}) {
    if (this.#error) return Promise.reject(this.#error);
    const request = (this.#lastRequest = (this.#lastRequest % 0xffffffff) + 1);
    return new Promise((resolve, reject) => {
      const expire = () => this.#end(new ConnectionLostError(`no answer to request ${message} in ${this.#timeoutMs} ms`));
      const timer = setTimeout(expire, this.#timeoutMs);
      this.#open.set(request, { message, onPart, resolve, reject, timer });
      this.#socket.write(encodeFrame(message, fields, { request, position }));
    });
  }

  #receive(chunk) {
    try {
      for (const frame of this.#reader.receive(chunk)) {
        if (this.#error) return;
        if (frame.request !== 0) this.#takeAnswer(frame);
        else this.#takeUnasked(frame);
      }
    } catch (error) {
      this.#end(error);
    }
  }

  #takeAnswer(frame) {
    const open = this.#open.get(frame.request);
    if (!open) throw new ProtocolError(`message ${frame.message} answers request ${frame.request}, which is not open`);
    if (frame.message !== Message.ERROR && !ANSWERS.get(open.message).includes(frame.message)) {
      throw new ProtocolError(`message ${frame.message} does not answer ${open.message}`);
    }
    if (!frame.end) {
      open.onPart(frame);
      open.timer.refresh();
      return;
    }
    this.#open.delete(frame.request);
    clearTimeout(open.timer);
    if (frame.message === Message.ERROR) open.reject(new ServerError(frame.fields));
    else open.resolve(frame);
  }

  #takeUnasked({ message, end, history, position, fields }) {
    if (ACTIONS.has(message)) {
      const action = ACTIONS.get(message);
      const { time_ms = 0, ...rest } = fields;
      const dbid = fields.dbid ?? fields.object.DBID;
      const change = { action, ...rest, dbid, timeMs: Number(time_ms), position, last: end, fromHistory: history };
      this.#addChange(change);
    } else if (message === Message.PROGRESS_MARK) {
      this.mark = position;
    } else if (message === Message.DISCONNECTED) {
      this.#end(new ConnectionLostError(`the server ended the connection: ${fields.description}`, fields.code));
    }
    // anything else is from a newer server and means nothing to this client
  }

  #addChange(change) {
    const waiter = this.#waiting.shift();
    if (waiter) {
      waiter.resolve(change);
      return;
    }
    this.#changes.push(change);
    if (this.#changes.length === MAX_QUEUED_CHANGES) this.#socket.pause();
  }

  #nextChange() {
    if (this.#changes.length > 0) {
      if (this.#changes.length === MAX_QUEUED_CHANGES) this.#socket.resume();
      return Promise.resolve(this.#changes.shift());
    }
    if (this.#error) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #end(error) {
    if (this.#error) return;
    this.#error = error;
    for (const { reject, timer } of this.#open.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#open.clear();
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.#socket.destroy();
  }
}
