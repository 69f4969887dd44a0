/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reason phrases, from the SIP response code registry (RFC 3261 21 and the RFCs
 * that added to it).
 */
#include "tieline/reply.h"

#define ROW(code, text)                                                                            \
  {                                                                                                \
    code, { text, sizeof(text) - 1 }                                                               \
  }

static const struct {
  unsigned status;
  struct tl_str text;
} phrases[] = {
    ROW(100, "Trying"),
    ROW(180, "Ringing"),
    ROW(181, "Call Is Being Forwarded"),
    ROW(182, "Queued"),
    ROW(183, "Session Progress"),
    ROW(199, "Early Dialog Terminated"),
    ROW(200, "OK"),
    ROW(202, "Accepted"),
    ROW(204, "No Notification"),
    ROW(300, "Multiple Choices"),
    ROW(301, "Moved Permanently"),
    ROW(302, "Moved Temporarily"),
    ROW(305, "Use Proxy"),
    ROW(380, "Alternative Service"),
    ROW(400, "Bad Request"),
    ROW(401, "Unauthorized"),
    ROW(402, "Payment Required"),
    ROW(403, "Forbidden"),
    ROW(404, "Not Found"),
    ROW(405, "Method Not Allowed"),
    ROW(406, "Not Acceptable"),
    ROW(407, "Proxy Authentication Required"),
    ROW(408, "Request Timeout"),
    ROW(410, "Gone"),
    ROW(412, "Conditional Request Failed"),
    ROW(413, "Request Entity Too Large"),
    ROW(414, "Request-URI Too Long"),
    ROW(415, "Unsupported Media Type"),
    ROW(416, "Unsupported URI Scheme"),
    ROW(417, "Unknown Resource-Priority"),
    ROW(420, "Bad Extension"),
    ROW(421, "Extension Required"),
    ROW(422, "Session Interval Too Small"),
    ROW(423, "Interval Too Brief"),
    ROW(424, "Bad Location Information"),
    ROW(425, "Bad Alert Message"),
    ROW(428, "Use Identity Header"),
    ROW(429, "Provide Referrer Identity"),
    ROW(430, "Flow Failed"),
    ROW(433, "Anonymity Disallowed"),
    ROW(436, "Bad Identity Info"),
    ROW(437, "Unsupported Credential"),
    ROW(438, "Invalid Identity Header"),
    ROW(439, "First Hop Lacks Outbound Support"),
    ROW(440, "Max-Breadth Exceeded"),
    ROW(469, "Bad Info Package"),
    ROW(470, "Consent Needed"),
    ROW(480, "Temporarily Unavailable"),
    ROW(481, "Call/Transaction Does Not Exist"),
    ROW(482, "Loop Detected"),
    ROW(483, "Too Many Hops"),
    ROW(484, "Address Incomplete"),
    ROW(485, "Ambiguous"),
    ROW(486, "Busy Here"),
    ROW(487, "Request Terminated"),
    ROW(488, "Not Acceptable Here"),
    ROW(489, "Bad Event"),
    ROW(491, "Request Pending"),
    ROW(493, "Undecipherable"),
    ROW(494, "Security Agreement Required"),
    ROW(500, "Server Internal Error"),
    ROW(501, "Not Implemented"),
    ROW(502, "Bad Gateway"),
    ROW(503, "Service Unavailable"),
    ROW(504, "Server Time-out"),
    ROW(505, "Version Not Supported"),
    ROW(513, "Message Too Large"),
    ROW(555, "Push Notification Service Not Supported"),
    ROW(580, "Precondition Failure"),
    ROW(600, "Busy Everywhere"),
    ROW(603, "Decline"),
    ROW(604, "Does Not Exist Anywhere"),
    ROW(606, "Not Acceptable"),
    ROW(607, "Unwanted"),
    ROW(608, "Rejected"),
};

struct tl_str tl_reason_phrase(unsigned status) {
  static const struct tl_str of_class[] = {
      {"Unknown", 7},         {"Progress", 8},     {"OK", 2},
      {"Redirection", 11},    {"Bad Request", 11}, {"Server Internal Error", 21},
      {"Global Failure", 14},
  };
  for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
    if (phrases[i].status == status) return phrases[i].text;
  return of_class[status / 100 <= 6 ? status / 100 : 0];
}
